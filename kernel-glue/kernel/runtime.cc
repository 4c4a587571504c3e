// What the compiler may call by itself in freestanding code. String instructions, because a loop
// here could be compiled into a call of the very function it implements.
#include <cstddef>
#include <cstdint>

extern "C" {

void* memcpy(void* destination, const void* source, std::size_t bytes) {
  void* result = destination;
  asm volatile("rep movsb" : "+D"(destination), "+S"(source), "+c"(bytes)::"memory");
  return result;
}

void* memmove(void* destination, const void* source, std::size_t bytes) {
  const auto distance =
      reinterpret_cast<std::uintptr_t>(destination) - reinterpret_cast<std::uintptr_t>(source);
  if (distance >= bytes) return memcpy(destination, source, bytes);
  void* result = destination;
  auto* to = static_cast<unsigned char*>(destination) + bytes - 1;
  const auto* from = static_cast<const unsigned char*>(source) + bytes - 1;
  asm volatile("std\n\trep movsb\n\tcld" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
  return result;
}

void* memset(void* destination, int value, std::size_t bytes) {
  void* result = destination;
  asm volatile("rep stosb" : "+D"(destination), "+c"(bytes) : "a"(value) : "memory");
  return result;
}

int memcmp(const void* left, const void* right, std::size_t bytes) {
  const auto* a = static_cast<const volatile unsigned char*>(left);
  const auto* b = static_cast<const volatile unsigned char*>(right);
  for (std::size_t i = 0; i < bytes; ++i) {
    if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
  }
  return 0;
}

}  // extern "C"
