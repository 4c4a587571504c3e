// The recording HAL above a hypervisor or a hub that does what a test tells it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "tests/core/recording_hal.h"

namespace shootdown::test {

template <CpuId kCpus>
struct ParavirtHal : RecordingHal<kCpus> {
  using Mask = CpuMask<kCpus>;

  /// A hypercall to Hyper-V, with a copy of the page that it was given.
  struct HypervCall {
    std::uint64_t control;
    HypervPage page;
  };
  /// One to Xen, with a copy of the bit map.
  struct XenCall {
    XenOperation operation;
    std::uint64_t processors;
  };
  struct BauCall {
    BauMessage message;
    Mask targets;
  };

  static constexpr bool kTakesBackends = true;
  static inline std::array<RecordedWord<std::uint8_t>, kCpus> vcpus{};
  static inline std::array<std::uint32_t, kCpus> processors{};
  static inline bool sparse_sets = true;
  static inline std::vector<HypervCall> hyperv_calls;
  /// Results of the next hypercalls, in order; success when there are no more.
  static inline std::vector<std::uint64_t> hyperv_results;
  static inline HypervPage page{};
  static inline std::vector<XenCall> xen_calls;
  static inline int xen_result = 0;
  static inline std::vector<BauCall> bau_calls;
  static inline Mask bau_unreachable;
  /// Messages that CPUs have not taken yet, and whose are not acknowledged.
  static inline std::array<std::vector<BauMessage>, kCpus> inboxes{};
  static inline std::array<unsigned, kCpus> unanswered{};
  static inline std::function<void()> bau_handler;

  static void reset() {
    RecordingHal<kCpus>::reset();
    recorder.list({"hypercall", "hypercall, interrupts on", "hub message", "hub answer", "hub open",
                   "hub close"});
    for (CpuId cpu = 0; cpu < kCpus; ++cpu) {
      vcpus[cpu].poke(0);
      processors[cpu] = 2 + cpu;
      inboxes[cpu].clear();
      unanswered[cpu] = 0;
    }
    sparse_sets = true;
    hyperv_calls.clear();
    hyperv_results.clear();
    xen_calls.clear();
    xen_result = 0;
    bau_calls.clear();
    bau_unreachable = {};
    bau_handler = nullptr;
  }

  static RecordedWord<std::uint8_t>& vcpu_state(CpuId cpu) { return vcpus[cpu]; }

  static std::uint32_t hyperv_processor(CpuId cpu) { return processors[cpu]; }
  static HypervPage& hyperv_input() { return page; }
  static bool hyperv_takes_sparse_sets() { return sparse_sets; }
  static std::uint64_t hyperv_call(std::uint64_t control) {
    recorder.note(RecordingHal<kCpus>::self().interrupts ? "hypercall, interrupts on" : "hypercall",
                  control);
    const std::size_t index = hyperv_calls.size();
    hyperv_calls.push_back({.control = control, .page = page});
    // Success: every repetition is done.
    return index < hyperv_results.size() ? hyperv_results[index] : control & (0xfffULL << 32);
  }

  static int xen_operation(const XenOperation& operation) {
    recorder.note("hypercall", operation.command);
    const auto* bits = reinterpret_cast<const std::uint64_t*>(operation.processors);
    xen_calls.push_back({.operation = operation, .processors = bits != nullptr ? *bits : 0});
    return xen_result;
  }

  static Mask bau_send(const BauMessage& message, const Mask& targets) {
    recorder.note("hub message", message.address);
    bau_calls.push_back({.message = message, .targets = targets});
    Mask leftover = targets;
    leftover &= bau_unreachable;
    targets.for_each([&](CpuId cpu) {
      if (leftover.test(cpu)) return;
      inboxes[cpu].push_back(message);
      ++unanswered[recorder.current];
    });
    return leftover;
  }
  /// A CPU that waits gives the others time to take their messages.
  static bool bau_outstanding() { return unanswered[recorder.current] != 0; }
  static void pause() {
    RecordingHal<kCpus>::pause();
    const CpuId before = recorder.current;
    for (CpuId cpu = 0; cpu < kCpus; ++cpu) {
      auto& self = RecordingHal<kCpus>::cpus[cpu];
      if (inboxes[cpu].empty() || !self.interrupts) continue;
      recorder.current = cpu;
      self.interrupts = false;
      bau_handler();
      self.interrupts = true;
    }
    recorder.current = before;
  }
  static bool bau_receive(BauMessage& message) {
    auto& inbox = inboxes[recorder.current];
    if (inbox.empty()) return false;
    message = inbox.front();
    inbox.erase(inbox.begin());
    return true;
  }
  static void bau_acknowledge(const BauMessage& message) {
    recorder.note("hub answer", message.sender);
    --unanswered[message.sender];
  }
  static void bau_open() { recorder.note("hub open"); }
  static void bau_close() { recorder.note("hub close"); }
};

}  // namespace shootdown::test
