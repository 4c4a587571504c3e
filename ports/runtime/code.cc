#include "ports/runtime/code.h"

#include <dlfcn.h>
#include <link.h>

#include <cctype>
#include <cstring>
#include <fstream>
#include <sstream>

namespace shootdown::model {

Code::~Code() {
  if (handle_ != nullptr) dlclose(handle_);
}

bool Code::open(const std::string& path, std::string& error) {
  handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) {
    error = dlerror();  // NOLINT(concurrency-mt-unsafe): there is one thread
    return false;
  }
  const link_map* map = nullptr;
  if (dlinfo(handle_, RTLD_DI_LINKMAP, static_cast<void*>(&map)) != 0) {
    error = dlerror();  // NOLINT(concurrency-mt-unsafe)
    return false;
  }
  base_ = map->l_addr;
  find_segments();
  return true;
}

void Code::find_segments() {
  const auto visit = [](dl_phdr_info* info, std::size_t /*bytes*/, void* argument) {
    auto& self = *static_cast<Code*>(argument);
    if (info->dlpi_addr != self.base_) return 0;
    for (unsigned i = 0; i < info->dlpi_phnum; ++i) {
      const ElfW(Phdr)& header = info->dlpi_phdr[i];
      if (header.p_type != PT_LOAD) continue;
      const std::uintptr_t start = info->dlpi_addr + header.p_vaddr;
      if ((header.p_flags & PF_W) != 0) self.add_segment(start, header.p_memsz);
      if ((header.p_flags & PF_X) != 0) {
        self.instructions_ = {self.base_, start, header.p_memsz};
      }
    }
    return 1;
  };
  dl_iterate_phdr(visit, this);
}

void Code::add_segment(std::uintptr_t start, std::size_t bytes) {
  const auto* first = reinterpret_cast<const std::byte*>(start);
  segments_.push_back({.start = start, .bytes = bytes, .first = {first, first + bytes}});
}

void Code::adopt(void* variables, std::size_t bytes) {
  base_ = reinterpret_cast<std::uintptr_t>(variables);
  add_segment(base_, bytes);
}

void* Code::symbol(const char* name) const { return dlsym(handle_, name); }

void Code::reset() {
  for (const Segment& segment : segments_) {
    std::memcpy(reinterpret_cast<void*>(segment.start), segment.first.data(), segment.bytes);
  }
}

bool Code::read_names(const std::string& path, std::string& error) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::uintptr_t offset = 0;
    std::string kind;
    std::string name;
    words >> std::hex >> offset >> kind;
    if (kind.size() > 1) words >> kind;
    if (!(words >> name) || std::strchr("bBdD", kind[0]) == nullptr) continue;
    // A static variable of a function has that in front of its own name.
    const std::size_t dot = name.rfind('.');
    const bool is_static = dot != name.npos && std::isdigit(name[dot + 1]) == 0;
    names_[offset] = is_static ? name.substr(dot + 1) : name;
  }
  if (file.eof()) return true;
  error = path + " cannot be read";
  return false;
}

std::string Code::name_of(const void* address) const {
  const std::uintptr_t offset = offset_of(address);
  auto next = names_.upper_bound(offset);
  if (next == names_.begin()) return std::to_string(offset);
  const auto& [start, name] = *--next;
  return offset == start ? name : name + "+" + std::to_string(offset - start);
}

}  // namespace shootdown::model
