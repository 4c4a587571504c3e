// Promises of the memory manager at the moments when they count: what a CPU can still do to a page
// that it has cached while another CPU moves, copies, unmaps, protects or reclaims it.
#include "kernel-glue/kernel/interrupts.h"
#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

/// The CPU that has the page cached.
constexpr CpuId kHolder = 1;

constexpr vm::Pte kHeldRights = vm::kPteUser | vm::kPteWritable | vm::kPteNoExecute;

/// An mm that the holder has loaded, and one page in it.
class HeldPage {
 public:
  HeldPage() {
    map();
    run_on(kHolder, [&](CpuId) { load(mm_.core); });
  }
  ~HeldPage() {
    run_on(kHolder, [](CpuId) { load_kernel_mm(); });
  }
  HeldPage(const HeldPage&) = delete;
  HeldPage& operator=(const HeldPage&) = delete;

  [[nodiscard]] AddressSpace& mm() { return mm_; }
  [[nodiscard]] static VirtAddr address() { return test_page(13); }
  [[nodiscard]] static vm::Range range() {
    return {.start = address(), .end = address() + kPageBytes};
  }

  void map() {
    if (!vm::map(memory_manager, mm_, range(), kHeldRights)) fatal("no memory for a page");
  }

  /// What the holder can do now, with the entry that it has or with the one in memory.
  [[nodiscard]] bool can_read(VirtAddr at = address()) const {
    std::uint64_t value = 0;
    return ask([&] { return probe_read(at, value); });
  }
  [[nodiscard]] bool can_store(VirtAddr at = address()) const {
    return ask([&] { return probe_write(at, 1); });
  }

  /// Is the lock of the page's table free?
  [[nodiscard]] bool is_unlocked() {
    const PhysAddr table = vm::find_table(memory_manager, mm_, address(), 1);
    return memory_manager.platform.table_lock(table).load(std::memory_order_acquire) == 0;
  }

 private:
  template <class Question>
  [[nodiscard]] static bool ask(Question&& question) {
    bool answer = false;
    run_on(kHolder, [&](CpuId) { answer = question(); });
    return answer;
  }

  AddressSpace mm_;
};

/// What happens at a moment of an operation, and what the holder could do then.
struct Interruption {
  HeldPage* page{nullptr};
  VirtAddr address{0};
  MemoryMoment moment{};
  bool unmaps{false};  // as another CPU would that finds the lock free
  bool happened{false};
  bool stored{false};
};
constinit Interruption interruption{};

void interrupt_operation(MemoryMoment moment) {
  if (moment != interruption.moment || interruption.happened) return;
  interruption.happened = true;
  HeldPage& page = *interruption.page;
  if (interruption.unmaps) {
    if (!page.is_unlocked()) return;
    vm::unmap(memory_manager, page.mm(), HeldPage::range());
  }
  interruption.stored = page.can_store(interruption.address);
}

/// Runs an operation in which no CPU must be able to store to the page at that moment.
template <class Operation>
void expect_no_store(Report& report, const Interruption& at, const char* what,
                     Operation&& operation) {
  report.expect(at.page->can_store(at.address), "the page is writable and cached");
  interruption = at;
  memory_hook = interrupt_operation;
  operation();
  memory_hook = nullptr;
  report.expect(interruption.happened, "the operation came to that moment");
  report.expect(!interruption.stored, what);
}

}  // namespace

void test_page_moved(Report& report) {
  HeldPage page;
  const VirtAddr from = HeldPage::address();
  const VirtAddr to = test_page(14);
  const auto move = [&](VirtAddr source, VirtAddr target) {
    return vm::move_page(memory_manager, page.mm(), source, target);
  };
  report.expect(page.can_read(), "the page is cached, and no CPU has stored to it");
  report.expect(move(from, to), "it moves");
  report.expect(!page.can_read(), "no CPU finds it where it was");
  expect_no_store(report, {.page = &page, .address = to, .moment = MemoryMoment::looked},
                  "when the locks go, no CPU stores through the old address",
                  [&] { static_cast<void>(move(to, from)); });
}

void test_page_copied(Report& report) {
  HeldPage page;
  const auto migrate = [&] {
    report.expect(vm::migrate(memory_manager, page.mm(), HeldPage::address()),
                  "there is memory for a copy");
  };
  Interruption copying{
      .page = &page, .address = HeldPage::address(), .moment = MemoryMoment::copying};
  Interruption flushed = copying;
  flushed.moment = MemoryMoment::secondary;
  expect_no_store(report, copying, "no CPU stores to a page that is being copied", migrate);
  expect_no_store(report, flushed, "no CPU caches an entry between its flush and its change",
                  migrate);
  // Another operation has taken the right to store out of the entry, and will flush later.
  report.expect(page.can_store(), "the copy is cached");
  vm::Gather<KernelMemory> gather(memory_manager, page.mm());
  vm::internal::take_rights(memory_manager, page.mm(), HeldPage::range(), vm::Right::store, gather);
  expect_no_store(report, copying, "a right that is gone and not flushed is no reason to copy",
                  migrate);
  gather.finish();
}

void test_page_unmapped(Report& report) {
  HeldPage page;
  const auto unmap = [&] { vm::unmap(memory_manager, page.mm(), HeldPage::range()); };
  const Interruption looked{
      .page = &page, .address = HeldPage::address(), .moment = MemoryMoment::looked};
  expect_no_store(report, looked, "a page that was stored to is flushed before its lock goes",
                  unmap);
  page.map();
  report.expect(page.can_store(), "a new page is there");
  Interruption flushed = looked;
  flushed.moment = MemoryMoment::secondary;
  expect_no_store(report, flushed, "a right is gone from the entry before it is flushed",
                  [&] { vm::protect(memory_manager, page.mm(), HeldPage::range()); });
  report.expect(page.can_read() && !page.can_store(), "afterwards it can be read only");
  unmap();
  page.map();
  report.expect(page.can_read(), "the next page is cached, and no CPU has stored to it");
  // Another operation unmaps it, and has not flushed yet.
  vm::Gather<KernelMemory> gather(memory_manager, page.mm());
  vm::internal::clear_pages(memory_manager, page.mm(), HeldPage::range(), gather);
  report.expect(page.can_read(), "until the flush the entry is stale");
  unmap();
  report.expect(!page.can_read(), "an operation that unmaps what is gone already answers for it");
  gather.finish();
}

void test_page_shared(Report& report) {
  HeldPage page;
  AddressSpace child;
  report.expect(page.can_read(), "the page is cached, and no CPU has stored to it");
  report.expect(vm::fork(memory_manager, page.mm(), child), "there is memory for a child");
  report.expect(page.can_read(), "it is cached again, for reading");
  // The parent unmaps it, and has not flushed yet.
  vm::Gather<KernelMemory> gather(memory_manager, page.mm());
  vm::internal::clear_pages(memory_manager, page.mm(), HeldPage::range(), gather);
  const std::size_t before = frames_in_use();
  vm::unmap(memory_manager, child, HeldPage::range());
  report.expect(page.can_read() && frames_in_use() == before,
                "a page that a CPU can still use is not released");
  gather.finish();
  report.expect(frames_in_use() == before - 1, "after the flush it is");
}

void test_page_reclaimed(Report& report) {
  HeldPage page;
  vm::Reclaimer<KernelMemory> reclaimer;
  const auto reclaim = [&] {
    report.expect(reclaimer.reclaim(memory_manager, page.mm(), HeldPage::address()),
                  "there was a page to reclaim");
  };
  report.expect(page.can_read(), "the page is cached, and no CPU has stored to it");
  reclaim();
  report.expect(page.can_read(), "until the batch is flushed the entry is stale");
  vm::unmap(memory_manager, page.mm(), HeldPage::range());
  report.expect(!page.can_read(), "an operation that unmaps what is in a batch answers for it");
  reclaimer.flush(memory_manager);
  page.map();
  expect_no_store(report,
                  {.page = &page,
                   .address = HeldPage::address(),
                   .moment = MemoryMoment::dirty,
                   .unmaps = true},
                  "an operation that can find the page gone can rely on it", reclaim);
  reclaimer.flush(memory_manager);
}

}  // namespace shootdown::kernel
