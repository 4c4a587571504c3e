// A system of the C interface on a modelled machine, with two spaces beside the kernel's.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "kernel-glue/embed/shootdown.h"
#include "tests/host/machine_fixture.h"

namespace shootdown::host {

inline constexpr VirtAddr kPage = 0x4000'0000;
inline constexpr VirtAddr kNext = kPage + 0x1000;
inline constexpr VirtAddr kKernelPage = 0xffff'8880'0000'0000;
inline constexpr std::uint64_t kUserLeaf = Tables::kLeaf | kPteAccessed | kPteDirty;

/// A system of C on a machine whose CPUs are online and run `tables`.
struct CInterface : testing::Test {
  explicit CInterface(CpuId cpus = 2, bool closed_waits = false)
      : fixture({.hardware = {.cpus = cpus}, .closed_waits = closed_waits}) {
    config.closed_waits = closed_waits ? 1 : 0;
    config.global_pages = 1;
    fixture.on_interrupt([this] { sd_handle_interrupt(&system); });
  }

  /// Each CPU comes online before its program runs; CPU 0 is first and initialises.
  void begin() {
    if (HostHal::this_cpu() == 0) {
      sd_init(&system, &config, kernel.cr3(0));
      sd_mm_init(&system, &mm, tables.cr3(0), config.isolation != 0 ? others.cr3(0) : 0);
      sd_mm_init(&system, &other, others.cr3(0), config.isolation != 0 ? tables.cr3(0) : 0);
    }
    HostHal::disable_interrupts();
    HostHal::write_cr4(HostHal::read_cr4() | kCr4Pcid | kCr4GlobalPages);
    sd_cpu_online(&system);
    HostHal::enable_interrupts();
  }
  void switch_to(sd_mm& next) {
    HostHal::disable_interrupts();
    sd_switch_mm(&system, &next);
    HostHal::enable_interrupts();
  }
  bool can_read(VirtAddr address) {
    return fixture.machine().translation().access(address, false) == AccessResult::done;
  }
  /// Runs one program on one CPU, and returns what was reported.
  std::string reported(const std::function<void()>& program) {
    fixture.on(0, [this, program] {
      begin();
      program();
    });
    const Report& report = fixture.run();
    return report.failed() ? report.title + ": " + report.detail : "";
  }

  MachineFixture fixture;
  Tables kernel{fixture.frames()};
  Tables tables{fixture.frames()};
  Tables others{fixture.frames()};
  sd_config config = SD_CONFIG;
  sd_system system{};
  sd_mm mm{};
  sd_mm other{};
};

struct OneCpu : CInterface {
  OneCpu() : CInterface(1) {}

  /// That the program is stopped, by a report that has `words` in it.
  void expect_refusal(const std::string& words, const std::function<void()>& program) {
    const std::string told = reported(program);
    EXPECT_NE(told.find(words), std::string::npos) << told;
  }
};

}  // namespace shootdown::host
