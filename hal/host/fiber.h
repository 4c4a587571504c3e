// Stackful coroutines: the simulated CPUs run on them, all in one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace shootdown::host {

/// One stack with a saved context. A fiber that was never prepared stands for the thread's own
/// stack.
class Fiber {
 public:
  using Entry = void (*)(void* argument);

  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  /// Makes the fiber start `entry(argument)` at the next switch to it. `entry` must not return.
  /// Code that ran on the stack before is abandoned, without destructors.
  void prepare(Entry entry, void* argument);

  /// Whether a race detector takes what was done before a switch to come before what is done after
  /// it, on the other fiber.
  enum class Order : bool { none, before };

  /// Leaves `from`, the fiber that runs now, and goes on in `to`.
  static void switch_to(Fiber& from, Fiber& to, Order order = Order::before);

 private:
  static constexpr std::size_t kStackBytes = std::size_t{128} * 1024;

  void arrive();

  void* stack_pointer_{nullptr};
  std::unique_ptr<std::byte[]> stack_;
  Entry entry_{nullptr};
  void* argument_{nullptr};
  // What the sanitizers must know of a stack to follow a switch.
  [[maybe_unused]] void* asan_fake_stack_{nullptr};
  [[maybe_unused]] const void* asan_bottom_{nullptr};
  [[maybe_unused]] std::size_t asan_bytes_{0};
  [[maybe_unused]] void* tsan_fiber_{nullptr};
  /// The thread's own stack, until its bounds are known: the first fiber it switches to learns
  /// them.
  [[maybe_unused]] Fiber* thread_to_learn_{nullptr};
  friend void fiber_entry(Fiber* self);
};

}  // namespace shootdown::host
