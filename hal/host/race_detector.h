// What ThreadSanitizer is told of a run: that each simulated CPU is a thread, and which of its
// accesses order others. It then reports plain data of the simulated kernel that two CPUs use in no
// order, although in truth one thread does everything. In other builds all of this is nothing.
//
// Every switch between CPUs says that it orders nothing (fiber.h). What does are the memory orders
// of HostAtomic, and the frame allocator. The way into an interrupt does not, and no fence: what
// the core shares it has to publish itself.
#pragma once

#include <atomic>
#include <cstdint>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHOOTDOWN_RACE_DETECTOR 1
#include <sanitizer/tsan_interface.h>
#endif
#endif

namespace shootdown::host {

#ifdef SHOOTDOWN_RACE_DETECTOR

namespace internal {
/// Says whether the model runs, on the fiber that runs now, and returns what was so far. A switch
/// asks as well, so that a fiber that is left has told ThreadSanitizer to ignore nothing.
bool set_in_model(bool in_model);
}  // namespace internal

/// What runs in this scope is the model, an oracle or the simulated kernel's harness: it shares
/// plain data between CPUs, because only one of them runs. Its accesses are not judged.
class ModelScope {
 public:
  ModelScope() = default;
  ~ModelScope() { internal::set_in_model(was_); }
  ModelScope(const ModelScope&) = delete;
  ModelScope& operator=(const ModelScope&) = delete;

 private:
  bool was_{internal::set_in_model(true)};
};

/// Inside a ModelScope: what runs here is the simulated kernel again.
class KernelScope {
 public:
  KernelScope() = default;
  ~KernelScope() { internal::set_in_model(was_); }
  KernelScope(const KernelScope&) = delete;
  KernelScope& operator=(const KernelScope&) = delete;

 private:
  bool was_{internal::set_in_model(false)};
};

/// What a shared word orders. Its accesses do to this word what they say they do to their own, and
/// ThreadSanitizer knows what that means.
class AccessOrder {
 public:
  void load(std::memory_order order) const { static_cast<void>(word_.load(order)); }
  void store(std::memory_order order) { word_.store(0, order); }
  void modify(std::memory_order order) { word_.fetch_add(0, order); }
  /// A compare-exchange that finds something else only loads.
  void fail_to_modify(std::memory_order order) {
    std::uint8_t other = 1;
    word_.compare_exchange_strong(other, 0, order);
  }

 private:
  std::atomic<std::uint8_t> word_{0};
};

/// Orders what the calling CPU did so far before what any CPU does after `acquired(place)`.
inline void released(const void* place) { __tsan_release(const_cast<void*>(place)); }
inline void acquired(const void* place) { __tsan_acquire(const_cast<void*>(place)); }

#else

class ModelScope {
 public:
  ModelScope() {}   // NOLINT(modernize-use-equals-default): or a scope would be an unused variable
  ~ModelScope() {}  // NOLINT(modernize-use-equals-default)
  ModelScope(const ModelScope&) = delete;
  ModelScope& operator=(const ModelScope&) = delete;
};
using KernelScope = ModelScope;

class AccessOrder {
 public:
  void load(std::memory_order /*order*/) const {}
  void store(std::memory_order /*order*/) {}
  void modify(std::memory_order /*order*/) {}
  void fail_to_modify(std::memory_order /*order*/) {}
};

inline void released(const void* /*place*/) {}
inline void acquired(const void* /*place*/) {}

#endif

/// A part of the model, or an oracle, for one call: the scope ends with the expression.
template <class T>
struct ModelCall {
  T* what;
  ModelScope scope{};
  T* operator->() const { return what; }
};

}  // namespace shootdown::host
