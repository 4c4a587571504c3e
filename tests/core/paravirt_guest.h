// A bench whose kernel is a guest: a backend in the place of the native operations.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/core/core_fixture.h"
#include "tests/core/paravirt_hal.h"

namespace shootdown::test {

/// Before the fixture that uses it.
template <class H>
struct GuestOps {
  FlushOps<H> ops;
};

template <CpuId kCpus>
struct Guest : GuestOps<ParavirtHal<kCpus>>, CoreFixture<kCpus, ParavirtHal<kCpus>> {
  using H = ParavirtHal<kCpus>;
  using Base = CoreFixture<kCpus, H>;

  explicit Guest(const FlushOps<H>& backend, bool concurrent = true, const Config& config = {})
      : GuestOps<H>{concurrent ? backend : remote_only(backend)}, Base(config, &this->ops) {
    H::bau_handler = [this] { handle_bau_interrupt(this->system); };
  }
  ~Guest() { H::reset(); }

  void flush(VirtAddr pages = 1) {
    static_cast<void>(flush_tlb_mm_range(this->system, this->mm,
                                         {.start = 0x5000, .end = 0x5000 + (pages << kPageShift)}));
  }
  void flush_all() { static_cast<void>(flush_tlb_mm(this->system, this->mm)); }
  void exit() { static_cast<void>(retire_mm(this->system, this->mm)); }
  Counters& counters(CpuId cpu = 0) { return this->own(cpu).counters; }
  Generation generation(CpuId cpu) { return this->loaded_asid(cpu).generation; }
};

using Four = Guest<4>;
using H = ParavirtHal<4>;

inline std::vector<std::uint64_t> interrupted() { return values("send interrupt"); }

}  // namespace shootdown::test
