// What user mode asks of the kernel: `int 128` with the number in RAX and arguments in RDI and RSI;
// the answer comes back in RAX. Preprocessor only.
#pragma once

/// Ends the stay in user mode; RDI is the result.
#define SHOOTDOWN_CALL_EXIT 0
