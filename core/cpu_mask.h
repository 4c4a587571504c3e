// Sets of CPUs: a plain value, and the shared form that an address space carries.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/types.h"

namespace shootdown {

namespace internal {

/// The words of a set. Of several words only the first `used` have a value, and only they are
/// copied.
template <std::size_t kWords>
struct MaskWords {
  constexpr MaskWords() {}  // NOLINT(modernize-use-equals-default,*-member-init): see above
  constexpr MaskWords(const MaskWords& other) { *this = other; }
  constexpr MaskWords& operator=(const MaskWords& other) {  // NOLINT(bugprone-unhandled-self-*)
    used = other.used;
    for (std::size_t i = 0; i < used; ++i) words[i] = other.words[i];
    return *this;
  }
  constexpr ~MaskWords() = default;

  std::size_t used{0};
  std::array<std::uint64_t, kWords> words;
};
template <>
struct MaskWords<1> {
  static constexpr std::size_t used = 1;  // NOLINT(readability-identifier-naming): as above
  std::array<std::uint64_t, 1> words{};
};

}  // namespace internal

/// A set of CPUs as a value. It belongs to its holder; no operation is atomic.
///
/// On a kernel for more CPUs than a word has bits it knows how many words it uses: those up to the
/// last CPU that was ever in it. Behind these nothing is read, copied or walked, so that a kernel
/// that is built for 4096 CPUs and runs on eight pays for eight.
template <CpuId kMaxCpus>
class CpuMask {
 public:
  static constexpr std::size_t kWords = (kMaxCpus + 63) / 64;

  constexpr CpuMask() = default;

  /// The bit of `cpu` in its word.
  static constexpr std::uint64_t bit_of(CpuId cpu) { return std::uint64_t{1} << (cpu % 64); }

  [[nodiscard]] constexpr bool test(CpuId cpu) const { return (word(cpu / 64) >> (cpu % 64)) & 1; }
  constexpr void set(CpuId cpu) {
    use(cpu / 64);
    set_.words[cpu / 64] |= bit_of(cpu);
  }
  constexpr void clear(CpuId cpu) {
    if (uses(cpu / 64)) set_.words[cpu / 64] &= ~bit_of(cpu);
  }
  constexpr void set_word(std::size_t index, std::uint64_t word) {
    use(index);
    set_.words[index] = word;
  }
  [[nodiscard]] constexpr std::uint64_t word(std::size_t index) const {
    return uses(index) ? set_.words[index] : 0;
  }

  /// How many words there may be members in, from the first on. In loops the bound of a single word
  /// stands as a constant: by this function a flush of two CPUs took 2 ticks more.
  [[nodiscard]] constexpr std::size_t used() const { return set_.used; }

  [[nodiscard]] constexpr bool empty() const {
    for (std::size_t i = 0; i < (kWords == 1 ? 1 : used()); ++i) {
      if (set_.words[i] != 0) return false;
    }
    return true;
  }

  [[nodiscard]] constexpr CpuId count() const {
    CpuId total = 0;
    for (std::size_t i = 0; i < (kWords == 1 ? 1 : used()); ++i) total += count_bits(set_.words[i]);
    return total;
  }

  /// Whether `cpu`, whose bit in its word is `bit`, is the only member.
  [[nodiscard]] constexpr bool is_only(CpuId cpu, std::uint64_t bit) const {
    if constexpr (kWords == 1) {
      return set_.words[0] == bit;
    } else {
      std::uint64_t differences = word(cpu / 64) ^ bit;
      for (std::size_t i = 0; i < (kWords == 1 ? 1 : used()); ++i)
        differences |= i == cpu / 64 ? 0 : set_.words[i];
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
    for (std::size_t i = 0; i < (kWords == 1 ? 1 : used()); ++i) {
      if (set_.words[i] != 0) return lowest_of(i, set_.words[i]);
    }
    return kNoCpu;
  }

  /// Calls `visit(cpu)` for each member, lowest first. Members that `visit` takes out or adds
  /// itself are visited or not.
  template <class Visit>
  [[gnu::always_inline]] constexpr void for_each(Visit&& visit) const {
    for (std::size_t i = 0; i < (kWords == 1 ? 1 : used()); ++i) {
      for (std::uint64_t rest = set_.words[i]; rest != 0; rest &= rest - 1) {
        visit(lowest_of(i, rest));
      }
    }
  }

  constexpr CpuMask& operator&=(const CpuMask& other) {
    if constexpr (kWords != 1) set_.used = used() < other.used() ? used() : other.used();
    for (std::size_t i = 0; i < (kWords == 1 ? 1 : used()); ++i)
      set_.words[i] &= other.set_.words[i];
    return *this;
  }
  constexpr CpuMask& operator|=(const CpuMask& other) {
    if (other.used() != 0) use(other.used() - 1);
    for (std::size_t i = 0; i < other.used(); ++i) set_.words[i] |= other.set_.words[i];
    return *this;
  }
  friend constexpr bool operator==(const CpuMask& a, const CpuMask& b) {
    for (std::size_t i = 0; i < a.used() || i < b.used(); ++i) {
      if (a.word(i) != b.word(i)) return false;
    }
    return true;
  }

 private:
  [[nodiscard]] constexpr bool uses(std::size_t index) const {
    return kWords == 1 || index < used();
  }
  /// From here on also those of the word with this index.
  constexpr void use(std::size_t index) {
    if constexpr (kWords != 1) {
      for (; set_.used <= index; ++set_.used) set_.words[set_.used] = 0;
    }
  }

  /// The lowest CPU of a word that is not 0.
  [[gnu::always_inline]] static constexpr CpuId lowest_of(std::size_t index, std::uint64_t word) {
    return static_cast<CpuId>((index * 64) + static_cast<std::size_t>(std::countr_zero(word)));
  }

  internal::MaskWords<kWords> set_{};
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
  /// switcher's read of the generation is not seq_cst, and C++ alone would let both miss. `words`:
  /// behind these there are no CPUs.
  [[nodiscard]] Mask read(std::size_t words = Mask::kWords) const {
    Mask copy;
    for (std::size_t i = 0; i < (Mask::kWords == 1 ? 1 : words); ++i) {
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
