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
}

void Recorder::line(std::string what, Site where) {
  const ModelScope scope;
  timeline_.push_back({.step = machine_.step(),
                       .cpu = machine_.running().id,
                       .what = std::move(what),
                       .where = where});
}

void Recorder::event(CpuId cpu, std::string what) {
  timeline_.push_back(
      {.step = machine_.step(), .cpu = cpu, .what = std::move(what), .where = Site()});
}

std::string Recorder::name_of(VirtAddr address) const {
  if (observer_ == nullptr) return std::to_string(address);
  return observer_->label(reinterpret_cast<const void*>(address));
}

void Recorder::operation(const char* verb, const void* address, std::uint64_t value, Site where) {
  std::string what = verb;
  if (address != nullptr) {
    what += " " + (observer_ != nullptr ? observer_->label(address) : std::string("word"));
    what += " = " + std::to_string(value);
  } else {
    what += " " + name_of(value);
  }
  line(std::move(what), where);
}

void Recorder::drained(CpuId cpu, const void* address, std::uint64_t value) {
  event(cpu, "  drains " + (observer_ != nullptr ? observer_->label(address) : "word") + " = " +
                 std::to_string(value));
}

}  // namespace shootdown::host
