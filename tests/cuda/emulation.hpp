// CUDA C++ as ordinary C++: enough of it to run our kernels on a CPU, one block after another. The threads of
// a block are fibers, which change places where the block or a warp meets. What a test cannot see this way is
// memory that is read too early on a card; running the threads in another order finds much of that.
#pragma once

#include <ucontext.h>

#include <math.h>

#include <algorithm>
#include <cmath>

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __shared__ static
#define __launch_bounds__(n)
#define __align__(n) alignas(n)

struct uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct float4 {
  float x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

template <class To, class From>
inline To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
inline float __uint_as_float(unsigned x) { return same_bits<float>(x); }
inline float __int_as_float(int x) { return same_bits<float>(x); }
inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
template <class T>
inline T __ldcs(const T* from) {
  return *from;
}
inline long long min(long long a, long long b) { return a < b ? a : b; }

struct Index3 {
  unsigned x = 0, y = 0, z = 0;
};
inline Index3 threadIdx, blockIdx, blockDim;

namespace emulation {

/// One block's threads.
class Block {
 public:
  static Block*& current() {
    static Block* block = nullptr;
    return block;
  }

  Block(unsigned threads, bool backwards, const std::function<void()>& body)
      : backwards_(backwards), body_(body), fibers_(threads) {
    current() = this;
    for (auto& f : fibers_) {
      constexpr std::size_t kStack = std::size_t{64} << 10;
      f.stack = std::make_unique<char[]>(kStack);
      getcontext(&f.context);
      f.context.uc_stack.ss_sp = f.stack.get();
      f.context.uc_stack.ss_size = kStack;
      f.context.uc_link = &scheduler_;
      makecontext(&f.context, reinterpret_cast<void (*)()>(&Block::enter), 0);
    }
  }

  void run() {
    while (std::ranges::any_of(fibers_, [](const Fiber& f) { return !f.done; })) {
      for (std::size_t i = 0; i < fibers_.size(); ++i) {
        now_ = backwards_ ? fibers_.size() - 1 - i : i;
        if (fibers_[now_].done) continue;
        threadIdx = {static_cast<unsigned>(now_), 0, 0};
        swapcontext(&scheduler_, &fibers_[now_].context);
      }
    }
  }

  // Returns when all threads of the block that still run have come here as often as this one.
  void meet_all() { meet(&Fiber::meetings, 0, fibers_.size()); }

  // The same for a warp, in which one thread's number is another's.
  float exchange(float mine, int with) {
    const auto me = now_, warp = me / 32 * 32;
    fibers_[me].word = mine;
    meet(&Fiber::warp_meetings, warp, warp + 32);
    const float theirs = fibers_[me ^ static_cast<unsigned>(with)].word;
    meet(&Fiber::warp_meetings, warp, warp + 32);
    return theirs;
  }

 private:
  struct Fiber {
    ucontext_t context = {};
    std::unique_ptr<char[]> stack = {};
    bool done = false;
    long meetings = 0,
         warp_meetings = 0;  // warps come to a block's meeting after different numbers of their own
    float word = 0;
  };

  void meet(long Fiber::*meetings, std::size_t first, std::size_t last) {
    const auto mine = now_;
    const auto count = ++(fibers_[mine].*meetings);
    const auto is_late = [&](const Fiber& f) { return !f.done && f.*meetings < count; };
    do {
      swapcontext(&fibers_[mine].context, &scheduler_);
      now_ = mine;
      threadIdx = {static_cast<unsigned>(mine), 0, 0};
    } while (std::any_of(fibers_.begin() + static_cast<std::ptrdiff_t>(first),
                         fibers_.begin() + static_cast<std::ptrdiff_t>(std::min(last, fibers_.size())),
                         is_late));
  }

  static void enter() {
    Block& block = *current();
    block.body_();
    block.fibers_[block.now_].done = true;
  }

  bool backwards_;
  std::function<void()> body_;
  std::vector<Fiber> fibers_;
  ucontext_t scheduler_ = {};
  std::size_t now_ = 0;
};

/// Runs a kernel for every thread of every block; `arguments` point to what it is called with.
template <class... Arguments>
void launch(void (*kernel)(Arguments...), void** arguments, unsigned blocks, unsigned blocks_y,
            unsigned threads, bool backwards) {
  const auto body = [&]<std::size_t... I>(std::index_sequence<I...>) {
    return [=] { kernel(*static_cast<Arguments*>(arguments[I])...); };
  }
  (std::index_sequence_for<Arguments...>());
  blockDim = {threads, 1, 1};
  for (unsigned y = 0; y < blocks_y; ++y) {
    for (unsigned x = 0; x < blocks; ++x) {
      blockIdx = {x, y, 0};
      Block(threads, backwards, body).run();
    }
  }
}

}  // namespace emulation

inline void __syncthreads() { emulation::Block::current()->meet_all(); }
inline float __shfl_xor_sync(unsigned, float x, int with) {
  return emulation::Block::current()->exchange(x, with);
}
