#include "fuzz/oracles/hardware/roots.h"

#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

using host::FrameInfo;
using host::FrameKind;
using host::FramePool;

void RootChecker::on_cr3(CpuId cpu) const {
  const std::uint32_t root = FramePool::frame_at(truth_.machine().cpu(cpu).cr3);
  if (root == FramePool::kNoFrame) return;
  const FrameInfo& info = truth_.machine().frames().info(root);
  if (info.kind == FrameKind::table) return;
  truth_.fail(Oracle::o31, "CR3 is loaded with a released root",
              cpu_name(cpu) + " loads a top table that was released.",
              truth_.change_event(info, "released the top table"), truth_.event(cpu, "loads CR3"));
}

void RootChecker::on_nmi_access(CpuId cpu, unsigned mm) const {
  if (truth_.cpu(cpu).mm == mm) return;
  truth_.fail(Oracle::o22, "an NMI reads another mm than its task's",
              cpu_name(cpu) + " runs a task of " + mm_name(mm) + ", and CR3 holds " +
                  truth_.owner_name(truth_.cpu(cpu).mm) + ".",
              {}, truth_.event(cpu, "reads user memory in an NMI handler"));
}

void RootChecker::on_kernel_entered(CpuId cpu) const {
  if (!truth_.cpu(cpu).on_user_root) return;
  truth_.fail(Oracle::o32, "an entry into the kernel stays on the user root",
              cpu_name(cpu) + " would fault: a user root maps of the kernel what an entry needs.",
              {}, truth_.event(cpu, "goes on to code that a user root does not map"));
}

}  // namespace shootdown::fuzz
