#include "hal/host/recorder.h"

#include <utility>

#include "hal/host/machine.h"
#include "hal/host/race_detector.h"

namespace shootdown::host {

void Recorder::prepare(Observer* observer) {
  observer_ = observer;
  hash_ = 0;
  timeline_.clear();
  features_.clear();
}

void Recorder::start() {
  hash_ = 0;
  timeline_.clear();
  if (has_timeline_ && watch_ != nullptr) watch_->on_start();
}

void Recorder::line(std::string what, Site where) {
  const ModelScope scope;
  if (watch_ != nullptr) watch_->before_line();
  timeline_.push_back({.step = machine_.step(),
                       .cpu = machine_.running().id,
                       .what = std::move(what),
                       .where = where});
}

void Recorder::event(CpuId cpu, std::string what) {
  if (watch_ != nullptr) watch_->before_line();
  timeline_.push_back(
      {.step = machine_.step(), .cpu = cpu, .what = std::move(what), .where = Site()});
}

std::string Recorder::name_of(VirtAddr address) const {
  if (observer_ == nullptr) return std::to_string(address);
  return observer_->label(reinterpret_cast<const void*>(address));
}

std::string Recorder::assignment(const void* address, std::uint64_t value,
                                 std::uint64_t bits) const {
  if (observer_ == nullptr) return "word = " + std::to_string(value);
  return observer_->label(address) + " = " + observer_->shown(address, value, bits);
}

void Recorder::operation(const char* verb, const void* address, std::uint64_t value,
                         std::uint64_t bits, Site where) {
  std::string what = std::string(verb) + " ";
  what += address != nullptr ? assignment(address, value, bits) : name_of(value);
  line(std::move(what), where);
}

void Recorder::drained(CpuId cpu, const void* address, std::uint64_t value, std::uint64_t bits) {
  event(cpu, "  drains " + assignment(address, value, bits));
}

}  // namespace shootdown::host
