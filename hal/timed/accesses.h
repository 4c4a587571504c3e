// Code that is compiled with the compiler's instrumentation of memory accesses, that of
// ThreadSanitizer without its run-time library, calls a function for each load, store and copy.
// Here they end in a listener.
#pragma once

#include <cstddef>

namespace shootdown::timed {

class AccessListener {
 public:
  AccessListener() = default;
  AccessListener(const AccessListener&) = delete;
  AccessListener& operator=(const AccessListener&) = delete;
  virtual ~AccessListener() = default;

  /// Before the access.
  virtual void access(const void* address, std::size_t bytes, bool write) = 0;
  /// At the beginning of a basic block, in code that is compiled with -fsanitize-coverage=trace-pc.
  virtual void block() {}
};

/// From here on this one listens, or none. Returns the one that listened.
AccessListener* listen(AccessListener* listener);

}  // namespace shootdown::timed
