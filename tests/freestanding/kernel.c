/* The kernel's side of the port, in C: each hook, what compilers call on their own account, and
 * where it begins. */

unsigned port_this_cpu(void) { return 0; }
void port_disable_preemption(void) {}
void port_enable_preemption(void) {}
int port_in_interrupt(void) { return 0; }
void port_send_interrupt(const unsigned long* words, unsigned count) { (void)words, (void)count; }
void port_report_unanswered(unsigned sender, unsigned target) { (void)sender, (void)target; }
void port_fail(const char* what, const char* file, unsigned line) {
  (void)what, (void)file, (void)line;
  for (;;) __asm__ volatile("hlt");
}
unsigned long port_hypercall(unsigned operation, const void* argument) {
  (void)argument;
  return operation;
}

__attribute__((used)) void* memcpy(void* to, const void* from, unsigned long bytes) {
  char* t = to;
  const char* f = from;
  for (; bytes != 0; --bytes) {
    *t++ = *f++;
    __asm__ volatile("" ::: "memory"); /* or this becomes a call of itself */
  }
  return to;
}
__attribute__((used)) void* memmove(void* to, const void* from, unsigned long bytes) {
  char* t = to;
  const char* f = from;
  if (t <= f) return memcpy(to, from, bytes);
  for (; bytes != 0; --bytes) {
    t[bytes - 1] = f[bytes - 1];
    __asm__ volatile("" ::: "memory");
  }
  return to;
}
__attribute__((used)) void* memset(void* to, int value, unsigned long bytes) {
  char* t = to;
  for (; bytes != 0; --bytes) {
    *t++ = (char)value;
    __asm__ volatile("" ::: "memory");
  }
  return to;
}
__attribute__((used)) int memcmp(const void* a, const void* b, unsigned long bytes) {
  const unsigned char* x = a;
  const unsigned char* y = b;
  for (; bytes != 0; --bytes, ++x, ++y) {
    if (*x != *y) return *x < *y ? -1 : 1;
  }
  return 0;
}

void port_use(void);
void _start(void);
void _start(void) { port_use(); }
