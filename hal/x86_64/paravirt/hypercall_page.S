// A page of the kernel's text: Hyper-V lays its code over it, Xen fills it. Until then each entry
// stops, because no code may call it.
        .section .text.hypercall_page, "ax", @progbits
        .balign 4096
        .globl shootdown_hypercall_page
        .type shootdown_hypercall_page, @object
shootdown_hypercall_page:
        .fill 4096, 1, 0xcc
        .size shootdown_hypercall_page, 4096
        .section .note.GNU-stack, "", @progbits
