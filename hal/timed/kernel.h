// What a kernel keeps for the core, and the operations on it that are timed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/types.h"
#include "hal/timed/directory.h"

namespace shootdown::timed {

/// How flushes go.
enum class Mode : std::uint8_t {
  serial,      // by interrupts, the local part first
  concurrent,  // by interrupts, the local part meanwhile
  early,       // the same, and targets answer before they flush
  invlpgb,     // by broadcast
};

struct Setup {
  Mode mode{Mode::concurrent};
  bool isolation{false};  // page-table isolation
  unsigned pages{1};
  CpuId cpus{0};  // that exist; 0: as many as there is room for
};

/// What the core's state takes in a kernel that is built for so many CPUs.
struct Layout {
  std::size_t system;         // all of it, in bytes
  std::size_t posts;          // what CPUs call others for
  std::size_t pending;        // words of pending senders
  std::size_t cpu_states;     // what each CPU knows about its own TLB
  std::size_t mm;             // an address space
  std::size_t mask_words;     // of a set of CPUs
  std::size_t pending_words;  // that a target looks at in each interrupt
  std::size_t pending_lines;  // cache lines that these are in
};

/// A system of the core with one mm. Each function is for the CPU that runs it.
class Kernel {
 public:
  Kernel() = default;
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
  virtual ~Kernel() = default;

  virtual void boot_system() = 0;
  virtual void boot_cpu() = 0;
  virtual void load_mm() = 0;
  virtual void flush_everything() = 0;
  virtual void flush_pages() = 0;
  virtual void handle_interrupt() = 0;

  virtual void name_lines(Directory& directory) = 0;
  [[nodiscard]] virtual Layout layout() const = 0;
};

/// For how many CPUs kernels are built, the smallest first.
[[nodiscard]] std::span<const CpuId> capacities();
/// Built for `capacity` CPUs, which is one of these.
[[nodiscard]] std::unique_ptr<Kernel> make_kernel(CpuId capacity, const Setup& setup);

}  // namespace shootdown::timed
