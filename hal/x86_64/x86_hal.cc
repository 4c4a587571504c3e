#include "hal/x86_64/x86_hal.h"

namespace shootdown::x86 {

constinit StaticKey is_common_key;
constinit StaticKey concurrent_key;
constinit StaticKey has_pcids_key;
constinit StaticKey one_half_key;

namespace {

StaticKey& key_of(Question question) {
  switch (question) {
    case Question::is_common:
      return is_common_key;
    case Question::concurrent:
      return concurrent_key;
    case Question::has_pcids:
      return has_pcids_key;
    case Question::one_half:
      return one_half_key;
  }
  __builtin_unreachable();
}

}  // namespace

void X86Hal::set_key(Question question, bool on) { key_of(question).set(on); }

}  // namespace shootdown::x86
