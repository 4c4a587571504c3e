# shootdown::shootdown: the static library and its C header.
# shootdown::headers: the C++ headers, for a HAL of the kernel's own.
get_filename_component(_shootdown_root "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET shootdown::shootdown)
  add_library(shootdown::shootdown STATIC IMPORTED)
  set_target_properties(shootdown::shootdown PROPERTIES
    IMPORTED_LOCATION "${_shootdown_root}/lib/libshootdown.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_shootdown_root}/include")
  add_library(shootdown::headers INTERFACE IMPORTED)
  set_target_properties(shootdown::headers PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${_shootdown_root}/include")
endif()
unset(_shootdown_root)
