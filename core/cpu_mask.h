// Sets of CPUs: a plain value, and the shared form that an address space carries.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/types.h"

namespace shootdown {

/// A set of CPUs as a value. It belongs to its holder; no operation is atomic.
template <CpuId kMaxCpus>
class CpuMask {
 public:
  static constexpr std::size_t kWords = (kMaxCpus + 63) / 64;

  constexpr CpuMask() = default;

  /// The bit of `cpu` in its word.
  static constexpr std::uint64_t bit_of(CpuId cpu) { return std::uint64_t{1} << (cpu % 64); }

  [[nodiscard]] constexpr bool test(CpuId cpu) const {
    return (words_[cpu / 64] >> (cpu % 64)) & 1;
  }
  constexpr void set(CpuId cpu) { words_[cpu / 64] |= std::uint64_t{1} << (cpu % 64); }
  constexpr void clear(CpuId cpu) { words_[cpu / 64] &= ~(std::uint64_t{1} << (cpu % 64)); }
  constexpr void set_word(std::size_t index, std::uint64_t word) { words_[index] = word; }
  [[nodiscard]] constexpr std::uint64_t word(std::size_t index) const { return words_[index]; }

  [[nodiscard]] constexpr bool empty() const {
    for (std::uint64_t word : words_) {
      if (word != 0) return false;
    }
    return true;
  }

  [[nodiscard]] constexpr CpuId count() const {
    CpuId total = 0;
    for (std::uint64_t word : words_) total += count_bits(word);
    return total;
  }

  /// Whether `cpu`, whose bit in its word is `bit`, is the only member.
  [[nodiscard]] constexpr bool is_only(CpuId cpu, std::uint64_t bit) const {
    if constexpr (kWords == 1) {
      return words_[0] == bit;
    } else {
      CpuMask only;
      only.words_[cpu / 64] = bit;
      std::uint64_t differences = 0;
      for (std::size_t i = 0; i < kWords; ++i) differences |= words_[i] ^ only.words_[i];
      return differences == 0;
    }
  }

  /// The lowest member other than `cpu`, or kNoCpu. The answer 0 means CPU 0, not "none" (R13).
  [[nodiscard]] constexpr CpuId first_except(CpuId cpu) const {
    CpuMask others = *this;
    others.clear(cpu);
    return others.first();
  }

  /// The lowest member, or kNoCpu.
  [[nodiscard]] constexpr CpuId first() const {
    for (std::size_t i = 0; i < kWords; ++i) {
      if (words_[i] != 0) return lowest_of(i, words_[i]);
    }
    return kNoCpu;
  }

  /// Calls `visit(cpu)` for each member, lowest first.
  template <class Visit>
  [[gnu::always_inline]] constexpr void for_each(Visit&& visit) const {
    for (std::size_t i = 0; i < kWords; ++i) {
      for (std::uint64_t rest = words_[i]; rest != 0; rest &= rest - 1) {
        visit(lowest_of(i, rest));
      }
    }
  }

  constexpr CpuMask& operator&=(const CpuMask& other) {
    for (std::size_t i = 0; i < kWords; ++i) words_[i] &= other.words_[i];
    return *this;
  }
  constexpr CpuMask& operator|=(const CpuMask& other) {
    for (std::size_t i = 0; i < kWords; ++i) words_[i] |= other.words_[i];
    return *this;
  }
  friend constexpr bool operator==(const CpuMask&, const CpuMask&) = default;

 private:
  /// The lowest CPU of a word that is not 0.
  [[gnu::always_inline]] static constexpr CpuId lowest_of(std::size_t index, std::uint64_t word) {
    return static_cast<CpuId>((index * 64) + static_cast<std::size_t>(std::countr_zero(word)));
  }

  std::array<std::uint64_t, kWords> words_{};
};

/// A set of CPUs that several CPUs change. Each CPU changes only its own bit, always with a locked
/// operation, because neighbours share the word.
template <class H>
class AtomicCpuMask {
 public:
  using Mask = CpuMask<H::kMaxCpus>;

  /// Adds `cpu`. The locked operation is a full barrier on x86, and R2 relies on that.
  void set(CpuId cpu) {
    words_[cpu / 64].fetch_or(std::uint64_t{1} << (cpu % 64), std::memory_order_seq_cst);
  }

  /// Removes `cpu`. Release: what the CPU did while it was a member comes first.
  void clear(CpuId cpu) {
    words_[cpu / 64].fetch_and(~(std::uint64_t{1} << (cpu % 64)), std::memory_order_release);
  }

  /// Empties the set. Only while no CPU can reach it.
  void reset() {
    for (auto& word : words_) word.store(0, std::memory_order_relaxed);
  }

  /// Whether the set is empty. Only while no CPU can reach it, as for `reset`.
  [[nodiscard]] bool empty() const {
    for (const auto& word : words_) {
      if (word.owner_load() != 0) return false;
    }
    return true;
  }

  [[nodiscard]] bool test(CpuId cpu) const {
    return (words_[cpu / 64].load(std::memory_order_relaxed) >> (cpu % 64)) & 1;
  }

  /// Copies the set. Not a snapshot across words: each CPU's bit is read once, and both outcomes of
  /// a race with a switcher are correct by R1 and R2. Seq_cst, so that it stays behind the bump of
  /// the generation. The argument that this read sees the bit, or the switcher the bump, rests on
  /// the HAL's axiom that a locked operation is a full barrier, here the bump and the set: the
  /// switcher's read of the generation is not seq_cst, and C++ alone would let both miss.
  [[nodiscard]] Mask read() const {
    Mask copy;
    for (std::size_t i = 0; i < Mask::kWords; ++i) {
      copy.set_word(i, words_[i].load(std::memory_order_seq_cst));
    }
    return copy;
  }

  /// Calls `visit(name, field)` for each shared word, so that tools can label addresses.
  template <class Visit>
  void visit_shared(Visit&& visit) {
    for (auto& word : words_) visit("cpu_mask", word);
  }

 private:
  std::array<typename H::template Atomic<std::uint64_t>, Mask::kWords> words_{};
};

}  // namespace shootdown
