#include "experiments/mini/sweep.hpp"

#include <ATen/Parallel.h>

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "morphvlm/core/progress.hpp"

namespace morphvlm::experiments {

namespace {

// One thread for every operator while it lives.
struct SingleThreaded {
  int before = at::get_num_threads();

  SingleThreaded() { at::set_num_threads(1); }
  SingleThreaded(const SingleThreaded&) = delete;
  SingleThreaded& operator=(const SingleThreaded&) = delete;
  ~SingleThreaded() { at::set_num_threads(before); }
};

}  // namespace

void for_each_job(std::int64_t n, const std::string& title, const std::function<void(std::int64_t)>& job) {
  Progress progress(title, n);
  std::atomic<std::int64_t> next = 0;
  std::mutex mutex;
  std::exception_ptr error;
  const SingleThreaded single;
  const auto work = [&] {
    at::set_num_threads(1);  // a thread's own setting with some builds of the library
    for (std::int64_t i = next++; i < n; i = next++) {
      try {
        job(i);
      } catch (...) {
        const std::scoped_lock lock(mutex);
        if (!error) error = std::current_exception();
        next = n;
      }
      const std::scoped_lock lock(mutex);
      progress.advance(1, "");
    }
  };
  {
    const auto cores = std::max<std::int64_t>(1, std::thread::hardware_concurrency());
    std::vector<std::jthread> threads;
    for (std::int64_t i = 0; i < std::min(n, cores); ++i) threads.emplace_back(work);
  }
  if (error) std::rethrow_exception(error);
  progress.finish();
}

}  // namespace morphvlm::experiments
