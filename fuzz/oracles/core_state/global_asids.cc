#include "fuzz/oracles/core_state/global_asids.h"

#include <utility>

#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

namespace {

std::uint64_t bit_of(Asid asid) { return std::uint64_t{1} << (asid - kDynamicAsids); }

std::string asid_name(Asid asid) { return "global ASID " + std::to_string(asid); }

}  // namespace

void GlobalAsidChecker::start() {
  in_use_ = dirty_ = 0;
  cleaning_.fill(0);
}

void GlobalAsidChecker::on_granted(CpuId cpu, unsigned mm, Asid asid) {
  const Truth& truth = core_.truth();
  const auto grants = [&] { return truth.event(cpu, "grants the ASID"); };
  if ((in_use_ & bit_of(asid)) != 0) {
    truth.fail(Oracle::o27, "two mms have the same global ASID",
               mm_name(mm) + " gets " + asid_name(asid) + ", which is in use.", {}, grants());
  }
  if ((dirty_ & bit_of(asid)) != 0) {
    truth.fail(Oracle::o27, "a global ASID is used again without a full broadcast flush",
               mm_name(mm) + " gets " + asid_name(asid) +
                   ", under which CPUs may hold translations of the mm that had it before.",
               {}, grants());
  }
  const host::Machine& machine = core_.machine();
  for (CpuId id = 0; id < machine.cpu_count(); ++id) {
    for (const host::TlbEntry& entry : machine.cpu(id).tlb.entries) {
      // Global entries are the kernel's, and good in every PCID.
      if (entry.pcid != pcid_of(asid) || entry.global) continue;
      truth.fail(Oracle::o27, "a CPU holds translations under a global ASID that is granted",
                 cpu_name(id) + " has not forgotten what " + asid_name(asid) + " meant before.",
                 truth.fill_event(id, entry), grants());
    }
  }
  in_use_ |= bit_of(asid);
}

void GlobalAsidChecker::on_returned(CpuId cpu, Asid asid) {
  const host::Machine& machine = core_.machine();
  for (CpuId id = 0; id < machine.cpu_count(); ++id) {
    if (machine.cpu(id).pcid() != pcid_of(asid)) continue;
    core_.truth().fail(Oracle::o27, "a global ASID is given back while a CPU has it loaded",
                       cpu_name(id) + " can still fill translations under " + asid_name(asid) + ".",
                       {}, core_.truth().event(cpu, "gives the ASID back"));
  }
  in_use_ &= ~bit_of(asid);
  dirty_ |= bit_of(asid);
}

void GlobalAsidChecker::on_broadcast(CpuId cpu, const Invlpgb& what) {
  const bool full =
      what.scope == InvlpgbScope::all_contexts || what.scope == InvlpgbScope::everything;
  if (full) cleaning_[cpu] |= dirty_;
}

void GlobalAsidChecker::on_broadcasts_done(CpuId cpu) {
  dirty_ &= ~cleaning_[cpu];
  cleaning_[cpu] = 0;
}

void GlobalAsidChecker::on_flush_returned(CpuId cpu) const {
  const RequestChecker::Flush& flush = requests_.flush_on(cpu);
  if (flush.global == kNoGlobalAsid) return;
  const host::Machine& machine = core_.machine();
  for (CpuId id = 0; id < machine.cpu_count(); ++id) {
    // A target that answered early moves before it leaves its handler.
    const bool busy = flush.asked.early && machine.cpu(id).in_interrupt;
    const Asid asid = core_.loaded_asid(id);
    if (core_.loaded(id) != &core_.core_mm(flush.mm) || asid == flush.global || busy) continue;
    const bool can_walk = core_.is_lazy(id) && flush.frees_tables;
    const bool called = flush.called.test(id);
    std::string title = can_walk ? "a flush for freed tables " : "a flush by broadcast ";
    title += called ? "returns, and leaves " : "passes over ";
    title += can_walk ? "a lazy CPU" : "a CPU on an ASID of its own";
    core_.truth().fail(can_walk ? Oracle::o5 : Oracle::o27, std::move(title),
                       cpu_name(id) + " has " + mm_name(flush.mm) + " loaded on ASID " +
                           std::to_string(asid) + " and " +
                           (called ? "has run its call there" : "got no interrupt") +
                           ", but the broadcast was for " + asid_name(flush.global) + ".",
                       {.step = flush.begin, .cpu = flush.initiator, .what = "starts the flush"},
                       core_.truth().event(cpu, "the flush returns"));
  }
}

}  // namespace shootdown::fuzz
