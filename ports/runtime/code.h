// Code of a kernel that was compiled for the modelled machine, as a shared object in this process.
//
// What it shares between CPUs is its writable memory. Each run finds that as it was when the object
// was loaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace shootdown::model {

class Code {
 public:
  Code() = default;
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code();

  /// Loads it. Otherwise says why not: mostly it calls a function that there is none of.
  bool open(const std::string& path, std::string& error);
  /// Instead: code of this program, whose variables are these bytes.
  void adopt(void* variables, std::size_t bytes);
  /// What `nm` prints of it: an address, perhaps a size, a kind and a name on each line.
  bool read_names(const std::string& path, std::string& error);

  /// A function by its name, or null.
  template <class Function>
  [[nodiscard]] Function* function(const char* name) const {
    return reinterpret_cast<Function*>(symbol(name));
  }

  /// Its variables are as they were in the beginning.
  void reset();
  /// Whether the address is in its writable memory.
  [[nodiscard]] bool holds(const void* address) const {
    const auto byte = reinterpret_cast<std::uintptr_t>(address);
    for (const Segment& segment : segments_) {
      if (byte - segment.start < segment.bytes) return true;
    }
    return false;
  }
  /// Where its instructions are.
  struct Instructions {
    std::uintptr_t base{0};
    std::uintptr_t start{0};
    std::size_t bytes{0};

    [[nodiscard]] bool has(const void* address) const {
      return reinterpret_cast<std::uintptr_t>(address) - start < bytes;
    }
    /// Where in the object an instruction is, as debuggers count.
    [[nodiscard]] std::uintptr_t offset_of(const void* address) const {
      return reinterpret_cast<std::uintptr_t>(address) - base;
    }
  };
  [[nodiscard]] const Instructions& instructions() const { return instructions_; }
  /// The number of the eight bytes that this one of its bytes is among.
  [[nodiscard]] std::size_t granule_of(const void* address) const {
    return (reinterpret_cast<std::uintptr_t>(address) - (base_ & ~std::uintptr_t{7})) / 8;
  }
  /// A variable, such as "frames_lock" or "spaces+264".
  [[nodiscard]] std::string name_of(const void* address) const;
  /// Where in the object an instruction is, as debuggers count.
  [[nodiscard]] std::uintptr_t offset_of(const void* address) const {
    return reinterpret_cast<std::uintptr_t>(address) - base_;
  }

 private:
  struct Segment {
    std::uintptr_t start;
    std::size_t bytes;
    std::vector<std::byte> first;  // what is there at first
  };
  [[nodiscard]] void* symbol(const char* name) const;
  void find_segments();
  void add_segment(std::uintptr_t start, std::size_t bytes);

  void* handle_{nullptr};
  std::uintptr_t base_{0};
  std::vector<Segment> segments_;
  Instructions instructions_;
  std::map<std::uintptr_t, std::string> names_;  // by offset
};

}  // namespace shootdown::model
