#include "hal/host/machine.h"

#include <utility>

#include "hal/host/device.h"
#include "hal/host/hypervisor.h"
#include "hal/host/race_detector.h"

namespace shootdown::host {

Machine::Machine()
    : hypervisor_(std::make_unique<Hypervisor>(*this)), device_(std::make_unique<Device>(*this)) {
  for (CpuId id = 0; id < kHostCpus; ++id) {
    cpus_[id].id = id;
    cpus_[id].thread = &threads_[id];
    threads_[id].number = id;
  }
  scheduler_.set_running(cpus_[0]);
}

Machine::~Machine() {
  // Words outlive machines, and ask the current one.
  if (current_machine == this) current_machine = nullptr;
}

void Machine::prepare(const Setup& setup) {
  setup_ = setup;
  for (HostCpu& cpu : cpus_) {
    cpu.prepare(setup);
    cpu.thread = &threads_[cpu.id];
    cpu.thread->finished = false;
  }
  memory_.prepare(setup.memory);
  hypervisor_->prepare();
  device_->prepare();
  frames_.reset();
  recorder_.prepare(setup.observer);
  deviations_.prepare();
  broadcasts_.prepare();
  interrupts_.prepare();
  scheduler_.prepare();
  controlled_.prepare();
  report_ = {};
  was_reset_ = false;
  limits_.clear();
  observing_ = false;
  scheduler_.set_running(cpus_[0]);
  current_machine = this;
}

void Machine::thread_main(void* argument) {
  // The fiber belongs to one thread of one machine for good, and waits here between runs.
  auto& self = *static_cast<Thread*>(argument);
  for (;;) {
    Machine& machine = *current_machine;
    const Programs& programs = machine.setup_.programs;
    programs.boot(programs.argument, self.number);
    Fiber::switch_to(self.fiber, machine.host_);
    // Every CPU starts when all have booted.
    acquired(&machine.start_);
    {
      const ModelScope scope;
      if (machine.controlled_.is_on() && !machine.running().started) {
        machine.controlled_.control(Pending::plain);
      }
    }
    programs.program(programs.argument, self.number);
    {
      const ModelScope scope;
      machine.scheduler_.finish_program();
    }
    Fiber::switch_to(self.fiber, machine.host_);
  }
}

void Machine::startup_main(void* argument) {
  auto& self = *static_cast<Thread*>(argument);
  Machine& machine = *current_machine;
  const Programs& programs = machine.setup_.programs;
  if (programs.startup != nullptr) programs.startup(programs.argument, machine.running().id);
  {
    const ModelScope scope;
    machine.scheduler().finish_program();
  }
  Fiber::switch_to(self.fiber, machine.host_);
}

void Machine::abandon_program(HostCpu& cpu) {
  was_reset_ = true;
  scheduler_.give_up_program(cpu);
  // Runs at the end of the run only, with all that still wait then.
  cpu.thread->fiber.prepare(
      [](void* argument) {
        Fiber::switch_to(static_cast<Thread*>(argument)->fiber, current_machine->host_);
      },
      cpu.thread);
}

void Machine::begin_startup(HostCpu& cpu) {
  scheduler_.begin_program(cpu);
  cpu.thread->fiber.prepare(&Machine::startup_main, cpu.thread);
}

const Report& Machine::run() {
  if (!fibers_ready_) {
    for (Thread& thread : threads_) thread.fiber.prepare(&Machine::thread_main, &thread);
    fibers_ready_ = true;
  }
  for (CpuId id = 0; id < cpu_count() && !report_.failed(); ++id) {
    scheduler_.set_running(cpus_[id]);
    Fiber::switch_to(host_, cpus_[id].thread->fiber);
  }
  if (report_.failed()) return report_;
  start_run();
  released(&start_);
  Fiber::switch_to(host_, cpus_[0].thread->fiber);
  // What follows is behind all that each CPU did, also where it was abandoned.
  acquired(this);
  // One CPU noticed that all is done and came back; the others wait for interrupts and follow.
  for (CpuId id = 0; id < cpu_count() && fibers_ready_; ++id) {
    if (!cpus_[id].blocked) continue;
    scheduler_.set_running(cpus_[id]);
    Fiber::switch_to(host_, cpus_[id].thread->fiber);
  }
  // The next run begins on stacks that are as they were prepared.
  if (std::exchange(was_reset_, false)) fibers_ready_ = false;
  observing_ = false;
  controlled_.stop();
  if (recorder_.has_timeline()) deviations_.effects().finish();
  if (memory_.reorders() && memory_.compiler_reordering().has_forgotten()) reach(Limit::words);
  return report_;
}

void Machine::start_run() {
  if (memory_.reorders()) {
    // Every CPU knows how the machine was brought up.
    for (CpuId id = 0; id < cpu_count(); ++id) memory_.drain(cpus_[id], StoreBuffer::kStores);
    memory_.publish_all();
  }
  for (HostCpu& cpu : cpus_) cpu.executed = {};
  recorder_.start();
  scheduler_.restart();
  frames_.start_run();
  observing_ = setup_.observer != nullptr;
  for (CpuId id = 0; id < cpu_count() && observing_; ++id) setup_.observer->on_cr3(id);
  controlled_.start();
  scheduler_.start();
  scheduler_.set_running(cpus_[0]);
}

void Machine::abandon_run() {
  // Every fiber is abandoned where it stands; the next run prepares them afresh.
  fibers_ready_ = false;
  observing_ = false;
  controlled_.stop();
  Fiber::switch_to(running().thread->fiber, host_);
  __builtin_unreachable();
}

void Machine::fail(Report report) {
  {
    // The frames from here on are abandoned, so nothing may own memory any more: a plain assignment
    // might swap what the previous run's report held into the parameter.
    const Report previous = std::exchange(report_, std::move(report));
  }
  abandon_run();
}

void Machine::fail(const Failure& failure) {
  Report report;
  report.kind = &kCheck;
  report.title = failure.what;
  report.detail = "A check inside the core failed. It guards R" +
                  std::to_string(static_cast<unsigned>(failure.rule)) + ".";
  report.second = {.step = step(), .cpu = running().id, .what = failure.what};
  if (recorder_.has_timeline()) {
    recorder_.line(std::string("check failed: ") + failure.what, failure.where);
  }
  fail(std::move(report));
}

}  // namespace shootdown::host
