#include "fuzz/oracles/hardware/references.h"

#include "fuzz/oracles/reports/names.h"
#include "hal/host/walk.h"

namespace shootdown::fuzz {

using host::FrameInfo;
using host::FrameKind;
using host::FramePool;
using host::Machine;

void ReferenceChecker::on_run_end() const {
  for (unsigned thread = 0; thread < truth_.machine().cpu_count(); ++thread) {
    if (!ended_.test(thread)) return;
  }
  Found found;
  for (unsigned mm = 0; mm < truth_.mms(); ++mm) find(mm, found);
  for (std::uint32_t frame = 0; frame < FramePool::kFrames; ++frame) {
    const FrameInfo& info = truth_.machine().frames().info(frame);
    if (info.kind == FrameKind::free || owner_mm(info.owner) == kKernelMm) continue;
    if (info.kind == FrameKind::data) {
      check_page(frame, found.entries[frame]);
    } else {
      check_table(frame, found.is_table[frame]);
    }
  }
}

bool ReferenceChecker::is_alive(unsigned mm) const {
  const std::uint32_t root = FramePool::frame_at(truth_.kernel().root(mm));
  if (root == FramePool::kNoFrame) return false;
  const FrameInfo& info = truth_.machine().frames().info(root);
  return info.kind == FrameKind::table && info.owner == owner_tag(mm, host::kTopLevel);
}

void ReferenceChecker::find(unsigned mm, Found& found) const {
  if (!is_alive(mm)) return;
  const std::uint32_t root = FramePool::frame_at(truth_.kernel().root(mm));
  for (unsigned page = 0; page < kPages; ++page) {
    walk(root, host::kTopLevel, probe_address(page), found);
  }
}

void ReferenceChecker::walk(std::uint32_t table, unsigned level, VirtAddr address,
                            Found& found) const {
  found.is_table[table] = true;
  const std::uint64_t entry =
      truth_.machine().frames().words(table)[host::table_index(address, level)];
  const std::uint32_t next = FramePool::frame_at(entry);
  if ((entry & host::kPtePresent) == 0 || next == FramePool::kNoFrame) return;
  if (level == 1 || (entry & host::kPteLarge) != 0) {
    ++found.entries[next];
  } else {
    walk(next, level - 1, address, found);
  }
}

void ReferenceChecker::check_page(std::uint32_t frame, std::uint32_t entries) const {
  const std::uint32_t counted = truth_.kernel().references(frame);
  if (entries != 0 && counted == entries) return;
  const FrameInfo& info = truth_.machine().frames().info(frame);
  truth_.fail(Oracle::o35,
              entries == 0 ? "a page that nothing maps is never released"
                           : "a page has not as many references as entries",
              "Frame " + std::to_string(frame) + " is mapped by " + std::to_string(entries) +
                  " entries and has " + std::to_string(counted) + " references.",
              truth_.change_event(info, "allocated the frame"),
              truth_.event(truth_.machine().running().id, "runs last"));
}

void ReferenceChecker::check_table(std::uint32_t frame, bool found) const {
  if (found) return;
  const FrameInfo& info = truth_.machine().frames().info(frame);
  const unsigned mm = owner_mm(info.owner);
  if (owner_level(info.owner) == kUserRootLevel && is_alive(mm)) return;
  if (truth_.kernel().waits_for_walkers(frame)) return;
  truth_.fail(Oracle::o35, "a page table that nothing leads to is never released",
              "Frame " + std::to_string(frame) + " is a table of " + truth_.owner_name(mm) +
                  ", and no walk can read it.",
              truth_.change_event(info, "allocated the table"),
              truth_.event(truth_.machine().running().id, "runs last"));
}

}  // namespace shootdown::fuzz
