// What the scenario's kinds are called: each by the name of its enumerator, whose lists here the
// compiler keeps whole (-Wswitch). A row that is missing in a table, or in another place, shows.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "fuzz/scenario/kinds.h"
#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {
namespace {

const char* spelled(OpKind kind) {
  switch (kind) {
    case OpKind::switch_to:
      return "switch_to";
    case OpKind::idle:
      return "idle";
    case OpKind::resume:
      return "resume";
    case OpKind::leave:
      return "leave";
    case OpKind::read:
      return "read";
    case OpKind::write:
      return "write";
    case OpKind::map:
      return "map";
    case OpKind::unmap:
      return "unmap";
    case OpKind::protect:
      return "protect";
    case OpKind::unprotect:
      return "unprotect";
    case OpKind::replace:
      return "replace";
    case OpKind::free_table:
      return "free_table";
    case OpKind::flush_mm:
      return "flush_mm";
    case OpKind::exit:
      return "exit";
    case OpKind::protect_early:
      return "protect_early";
    case OpKind::reclaim:
      return "reclaim";
    case OpKind::batch_flush:
      return "batch_flush";
    case OpKind::kernel_read:
      return "kernel_read";
    case OpKind::kernel_map:
      return "kernel_map";
    case OpKind::kernel_unmap:
      return "kernel_unmap";
    case OpKind::flush_all:
      return "flush_all";
    case OpKind::temporary:
      return "temporary";
    case OpKind::offline:
      return "offline";
    case OpKind::online:
      return "online";
    case OpKind::move:
      return "move";
    case OpKind::fork:
      return "fork";
    case OpKind::cow:
      return "cow";
    case OpKind::split:
      return "split";
    case OpKind::map_small:
      return "map_small";
    case OpKind::collapse:
      return "collapse";
    case OpKind::clean:
      return "clean";
    case OpKind::reclaim_tables:
      return "reclaim_tables";
    case OpKind::walk:
      return "walk";
    case OpKind::fail_allocation:
      return "fail_allocation";
    case OpKind::flush_range:
      return "flush_range";
    case OpKind::kCount:
      break;
  }
  return "";
}

const char* spelled(EventKind kind) {
  switch (kind) {
    case EventKind::preempt:
      return "preempt";
    case EventKind::hold:
      return "hold";
    case EventKind::fill:
      return "fill";
    case EventKind::evict:
      return "evict";
    case EventKind::drain:
      return "drain";
    case EventKind::deliver:
      return "deliver";
    case EventKind::vcpu_preempt:
      return "vcpu_preempt";
    case EventKind::vcpu_resume:
      return "vcpu_resume";
    case EventKind::fail:
      return "fail";
    case EventKind::overtake:
      return "overtake";
    case EventKind::stale:
      return "stale";
    case EventKind::nmi:
      return "nmi";
    case EventKind::device:
      return "device";
    case EventKind::lose:
      return "lose";
    case EventKind::duplicate:
      return "duplicate";
    case EventKind::aim:
      return "aim";
    case EventKind::migrate:
      return "migrate";
    case EventKind::run:
    case EventKind::interrupt:
    case EventKind::handle:
    case EventKind::leave:
    case EventKind::handle_nmi:
    case EventKind::leave_nmi:
    case EventKind::kCount:
      break;
  }
  return "";
}

const char* spelled(Backend kind) {
  switch (kind) {
    case Backend::native:
      return "native";
    case Backend::kvm:
      return "kvm";
    case Backend::hyperv:
      return "hyperv";
    case Backend::xen:
      return "xen";
    case Backend::uv_bau:
      return "uv_bau";
    case Backend::kCount:
      break;
  }
  return "";
}

template <class Kind>
void expect_spelled(unsigned kinds = static_cast<unsigned>(Kind::kCount)) {
  for (unsigned i = 0; i < kinds; ++i) {
    const auto kind = static_cast<Kind>(i);
    EXPECT_EQ(name(kind), spelled(kind)) << "row " << i;
  }
}

TEST(Names, OfOperationsAreTheirEnumerators) { expect_spelled<OpKind>(); }
TEST(Names, OfDeviationsAreTheirEnumerators) { expect_spelled<EventKind>(kDeviationKinds); }
TEST(Names, OfBackendsAreTheirEnumerators) { expect_spelled<Backend>(); }

TEST(Names, EachSwitchOfTheHeaderIsAnotherField) {
  for (const HeaderSwitch& one : kHeaderSwitches) {
    Header header;
    header.*one.field = !(header.*one.field);
    unsigned changed = 0;
    for (const HeaderSwitch& other : kHeaderSwitches) {
      if (header.*other.field != Header{}.*other.field) {
        ++changed;
        EXPECT_EQ(other.name, one.name);
      }
    }
    EXPECT_EQ(changed, 1u) << one.name;
  }
}

}  // namespace
}  // namespace shootdown::fuzz
