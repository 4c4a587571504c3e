// Fields that only code of one CPU uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "hal/host/machine.h"
#include "hal/host/race_detector.h"

namespace shootdown::host {

/// A plain field of one CPU. An access is no visible operation: no other CPU acts there. With
/// `Exploration::own_fields` interrupts and NMIs of the CPU may come before each, as before its
/// loads of own words, and what is longer than a word goes in several.
///
/// It is assigned from values and read where it is no constant. An oracle has constants, which do
/// not convert, and peeks.
template <class T>
class HostOwn {
 public:
  constexpr HostOwn() = default;
  // Implicit, as a plain field is.
  constexpr HostOwn(T value) : value_(value) {}  // NOLINT(google-explicit-constructor)
  HostOwn(const HostOwn&) = delete;
  HostOwn& operator=(const HostOwn&) = delete;
  HostOwn(HostOwn&&) = delete;
  ~HostOwn() = default;

  HostOwn& operator=(HostOwn&& value) noexcept {
    move_words(value.value_, value_);
    return *this;
  }
  HostOwn& operator|=(T bits) { return *this = static_cast<T>(*this | bits); }
  HostOwn& operator&=(T bits) { return *this = static_cast<T>(*this & bits); }

  operator T() {  // NOLINT(google-explicit-constructor)
    T value;
    move_words(value_, value);
    return value;
  }
  operator T() const = delete;  // NOLINT(google-explicit-constructor)
  /// For oracles: no access of the CPU.
  [[nodiscard]] const T& peek() const { return value_; }

 private:
  static_assert(std::is_trivially_copyable_v<T>);

  static void move_words(const T& from, T& to) {
    if constexpr (sizeof(T) <= kWord) {
      access();
      to = from;
    } else {
      for (std::size_t done = 0; done < sizeof(T); done += kWord) {
        access();
        std::memcpy(reinterpret_cast<char*>(&to) + done,
                    reinterpret_cast<const char*>(&from) + done, kWord);
      }
    }
  }
  static void access() {
    const ModelScope scope;
    current_machine->scheduler().own_field_access();
  }

  static constexpr std::size_t kWord = sizeof(std::uint64_t);
  static_assert(sizeof(T) <= kWord || sizeof(T) % kWord == 0);

  T value_{};
};

}  // namespace shootdown::host
