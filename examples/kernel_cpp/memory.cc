// Frames, page tables, and the three steps of each removal: unhook, flush, free.
//
// What frees memory asks for the flush's token, so that a path without a flush does not compile.
#include <array>
#include <atomic>
#include <utility>

#include "examples/kernel_cpp/kernel.h"

extern "C" char boot_pml4[];  // boot.S, at its physical address

namespace example {

namespace sd = shootdown;

constinit bool flush_is_left_out = false;

namespace {

constexpr std::uint64_t kPresent = 1;
constexpr std::uint64_t kWritable = 2;
constexpr std::uint64_t kFrame = 0x000f'ffff'ffff'f000;
constexpr std::uint64_t kFirstFrame = 0x1000000;  // behind the image
constexpr unsigned kFrames = 1024;
constexpr std::uint64_t kPoison = 0xdead;

/// Held with interrupts on; no flush is called under it.
class Lock {
 public:
  explicit Lock(Hal::Atomic<bool>& word) : word_(word) {
    while (word_.exchange(true, std::memory_order_acquire)) Hal::pause();
  }
  ~Lock() { word_.store(false, std::memory_order_release); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  Hal::Atomic<bool>& word_;
};

// A ring, so that a frame stays free for a while and its poison can be seen.
constinit std::array<std::uint64_t, kFrames> ring{};
constinit unsigned first_free = 0;
constinit unsigned free_frames = 0;
constinit Hal::Atomic<bool> frames_lock{false};

void fill(std::uint64_t frame, std::uint64_t value) {
  auto* words = static_cast<std::uint64_t*>(at(frame));
  for (unsigned i = 0; i < kPage / 8; ++i) words[i] = value;
}

void free_frame(std::uint64_t frame) {
  fill(frame, kPoison);
  const Lock lock(frames_lock);
  ring[(first_free + free_frames) % kFrames] = frame;
  ++free_frames;
}

/// A page table goes to nothing but a token that says so; a page is content with less.
void free_page(std::uint64_t frame, const sd::TranslationsQuiet& token, const Space& space) {
  sd::require<Hal>(token.covers(space.mm), sd::Rule::r13, "a token of another space");
  free_frame(frame);
}
void free_table(std::uint64_t frame, const sd::WalkersQuiet& token, const Space& space) {
  sd::require<Hal>(token.covers(space.mm), sd::Rule::r13, "a token of another space");
  free_frame(frame);
}

std::uint64_t* entry_in(std::uint64_t table, std::uint64_t address, unsigned level) {
  return static_cast<std::uint64_t*>(at(table)) + (address >> (3 + 9 * level) & 511);
}
void set(std::uint64_t* entry, std::uint64_t value) {
  __atomic_store_n(entry, value, __ATOMIC_RELEASE);
}
/// A locked instruction: the processor may set accessed and dirty bits until the moment it is gone.
std::uint64_t take(std::uint64_t* entry) { return __atomic_exchange_n(entry, 0, __ATOMIC_SEQ_CST); }

}  // namespace

void initialize_memory() {
  for (unsigned i = 0; i < kFrames; ++i) ring[i] = kFirstFrame + i * kPage;
  free_frames = kFrames;
}

std::uint64_t allocate_frame() {
  std::uint64_t frame = 0;
  {
    const Lock lock(frames_lock);
    if (free_frames == 0) die("out of memory");
    frame = ring[first_free];
    first_free = (first_free + 1) % kFrames;
    --free_frames;
  }
  fill(frame, 0);
  return frame;
}

std::uint64_t* Space::find(std::uint64_t address, unsigned level, bool make) {
  std::uint64_t table = root_;
  for (unsigned above = 4; above > level; --above) {
    std::uint64_t* entry = entry_in(table, address, above);
    if ((*entry & kPresent) == 0) {
      if (!make) return nullptr;
      set(entry, allocate_frame() | kPresent | kWritable);
    }
    table = *entry & kFrame;
  }
  return entry_in(table, address, level);
}

void Space::initialize() {
  root_ = allocate_frame();
  const auto kernel_root = reinterpret_cast<std::uint64_t>(boot_pml4);
  for (unsigned i = 256; i < 512; ++i) {  // every space has the kernel's half
    static_cast<std::uint64_t*>(at(root_))[i] = static_cast<std::uint64_t*>(at(kernel_root))[i];
  }
  sd::initialize_mm(machine, mm, root_);
}

void Space::map(std::uint64_t address, std::uint64_t frame) {
  const Lock lock(locked_);
  // An entry that was not present is in no TLB: nothing to flush.
  set(find(address, 1, /*make=*/true), frame | kPresent | kWritable);
}

void Space::unmap(std::uint64_t first, unsigned pages) {
  constexpr unsigned kMost = 16;
  if (pages > kMost) die("too many pages at once");
  std::array<std::uint64_t, kMost> taken{};
  unsigned count = 0;
  {
    const Lock lock(locked_);
    for (unsigned i = 0; i < pages; ++i) {
      std::uint64_t* entry = find(first + i * kPage, 1, /*make=*/false);
      const std::uint64_t old = entry == nullptr ? 0 : take(entry);
      if ((old & kPresent) != 0) taken[count++] = old & kFrame;
    }
  }
  if (flush_is_left_out) {  // the negative control has to go round the token
    for (unsigned i = 0; i < count; ++i) free_frame(taken[i]);
    return;
  }
  const sd::TranslationsQuiet quiet =
      sd::flush_tlb_mm_range(machine, mm, {.start = first, .end = first + pages * kPage});
  for (unsigned i = 0; i < count; ++i) free_page(taken[i], quiet, *this);
}

void Space::unmap_table(std::uint64_t address) {
  const std::uint64_t start = address & ~std::uint64_t{0x1f'ffff};
  std::uint64_t old = 0;
  {
    const Lock lock(locked_);
    std::uint64_t* entry = find(address, 2, /*make=*/false);
    old = entry == nullptr ? 0 : take(entry);
  }
  if ((old & kPresent) == 0) return;
  const sd::WalkersQuiet quiet = sd::exclude_walkers(
      machine,
      sd::flush_tlb_mm_range_freed_tables(machine, mm, {.start = start, .end = start + 0x20'0000}));
  for (unsigned i = 0; i < 512; ++i) {
    const std::uint64_t page = static_cast<std::uint64_t*>(at(old & kFrame))[i];
    if ((page & kPresent) != 0) free_page(page & kFrame, quiet, *this);
  }
  free_table(old & kFrame, quiet, *this);
}

void Space::retire() {
  const sd::MmRetired retired = sd::retire_mm(machine, mm);
  sd::require<Hal>(retired.covers(mm), sd::Rule::r13, "a token of another space");
  free_frame(root_);
}

}  // namespace example
