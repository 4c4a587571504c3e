// The store buffer of a simulated CPU, as x86-TSO has it: stores leave it in order, and until then
// only their own CPU sees them (SDM vol. 3, 9.2.3; Sewell and others, x86-TSO, CACM 2010).
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <utility>

#include "core/types.h"
#include "hal/host/tlb.h"

namespace shootdown::host {

/// A store that other CPUs do not see yet.
struct BufferedStore {
  void* word{nullptr};
  std::uint64_t bits{0};
  /// Makes it visible. Knows the word's type.
  void (*commit)(const BufferedStore& store){nullptr};
  /// What `commit` wants to know: where in the source it was, for feedback; of a store to a page,
  /// the number of its `PageStore`.
  std::uint32_t note{0};
  std::uint8_t cpu{0};
  // What a compiler may do with it: it is a release; how many compiler barriers its CPU had passed.
  bool releases : 1 {false};
  bool to_page : 1 {false};
  std::uint16_t epoch{0};
  std::uint64_t number{0};  // of all that the CPU has buffered
};

/// A store to a page, while it waits. It keeps the translation of the moment at which it was
/// executed, also when the entry and the frame have changed since.
struct PageStore {
  VirtAddr address{0};
  TlbEntry used{};
  std::uint32_t life{0};  // of the frame, then
};

/// First in, first out, unless a compiler has changed the order. A full one drains before the next
/// store, as hardware's does.
class StoreBuffer {
 public:
  static constexpr unsigned kStores = 16;

  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] bool full() const { return size_ == kStores; }
  [[nodiscard]] unsigned size() const { return size_; }
  [[nodiscard]] const BufferedStore& operator[](unsigned index) const { return stores_[index]; }
  void clear() {
    size_ = 0;
    fenced_ = 0;
    fence_waits_ = false;
    pages_used_ = 0;
  }
  /// Precondition: not full.
  void push(const BufferedStore& store) { stores_[size_++] = store; }
  /// Precondition: index < size(); 0 is the oldest.
  BufferedStore take(unsigned index) {
    const BufferedStore taken = stores_[index];
    --size_;
    if (index < fenced_) --fenced_;
    for (unsigned i = index; i < size_; ++i) stores_[i] = stores_[i + 1];
    return taken;
  }

  /// Whether a compiler may have put the store at `index` before all that are older.
  [[nodiscard]] bool may_overtake(unsigned index) const {
    const BufferedStore& store = stores_[index];
    if (store.releases) return false;
    for (unsigned i = 0; i < index; ++i) {
      if (stores_[i].word == store.word || stores_[i].epoch != store.epoch) return false;
    }
    return true;
  }

  /// The newest store to `word`, or null: what its own CPU reads.
  [[nodiscard]] const BufferedStore* find(const void* word) const {
    for (unsigned i = size_; i > 0; --i) {
      if (stores_[i - 1].word == word) return &stores_[i - 1];
    }
    return nullptr;
  }

  /// MFENCE: what is in the buffer now has to leave before the CPU's next load.
  void fence() {
    fenced_ = size_;
    fence_waits_ = true;
  }
  /// Whether a fence has not been waited for; now it is.
  bool take_fence() { return std::exchange(fence_waits_, false); }
  /// How many of the oldest stores are before a fence.
  [[nodiscard]] unsigned fenced() const { return fenced_; }
  /// How many of the oldest stores have to leave so that none to a page is left.
  [[nodiscard]] unsigned through_last_page() const {
    if (pages_used_ == 0) return 0;
    unsigned count = size_;
    while (!stores_[count - 1].to_page) --count;
    return count;
  }

  /// Keeps what a store to a page waits with. Returns its number. Precondition: not full.
  std::uint32_t keep(const PageStore& page) {
    const auto number = static_cast<std::uint32_t>(std::countr_one(pages_used_));
    pages_used_ |= std::uint32_t{1} << number;
    pages_[number] = page;
    return number;
  }
  PageStore take_page(std::uint32_t number) {
    pages_used_ &= ~(std::uint32_t{1} << number);
    return pages_[number];
  }

 private:
  std::array<BufferedStore, kStores> stores_{};
  unsigned size_{0};
  unsigned fenced_{0};
  bool fence_waits_{false};
  std::uint32_t pages_used_{0};  // one bit for each of `pages_`
  std::array<PageStore, kStores> pages_{};
};

}  // namespace shootdown::host
