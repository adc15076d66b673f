// Gradients added up over processes while the backward pass still makes more of them.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "morphvlm/core/communicator.hpp"
#include "morphvlm/train/optim.hpp"

namespace morphvlm {

/// Bytes of gradients that travel together: enough that the network's latency does not count, few enough that
/// most of them are on their way before the backward pass ends.
inline constexpr std::int64_t kGradientBucket = std::int64_t{4} << 20;

/// Adds up an optimizer's gradients over processes, in flat buckets. A bucket is on its way as soon as a
/// step's last backward pass has made its last gradient; the parameters that a model uses last come first.
/// (Python: torch.nn.parallel.DistributedDataParallel's reducer.)
class GradientSums {
 public:
  /// Listens to the gradients of the optimizer's parameters as long as it lives.
  GradientSums(AdamW& optimizer, Communicator& processes, std::int64_t bucket_bytes = kGradientBucket)
      : processes_(processes) {
    std::vector<Tensor> parameters;
    for (const auto& g : optimizer.groups)
      parameters.insert(parameters.end(), g.parameters.begin(), g.parameters.end());
    std::reverse(parameters.begin(), parameters.end());
    std::int64_t bytes = 0;
    for (const auto& p : parameters) {
      const bool fits = !buckets_.empty() && bytes + static_cast<std::int64_t>(p.nbytes()) <= bucket_bytes &&
                        buckets_.back().parameters.front().scalar_type() == p.scalar_type();
      if (!fits) {
        buckets_.emplace_back();
        bytes = 0;
      }
      bytes += static_cast<std::int64_t>(p.nbytes());
      buckets_.back().parameters.push_back(p);
      torch::autograd::impl::set_post_acc_grad_hooks(p, std::make_unique<Hook>(*this, buckets_.size() - 1));
    }
  }
  ~GradientSums() {
    for (const auto& b : buckets_)
      for (const auto& p : b.parameters) torch::autograd::impl::set_post_acc_grad_hooks(p, nullptr);
  }
  GradientSums(const GradientSums&) = delete;
  GradientSums& operator=(const GradientSums&) = delete;

  /// The backward pass that comes next is this process's last of the step.
  void expect_last() { is_last_ = true; }

  /// Waits for all sums, and puts them into the parameters' gradients; adds up `numbers` beside them. A
  /// parameter without a gradient in any process has none afterwards.
  void finish(std::vector<double>& numbers) {
    at::NoGradGuard no_grad;
    is_last_ = false;
    while (started_ < buckets_.size()) start(buckets_[started_++]);
    // Which gradients there are, and which came after their bucket had left.
    std::vector<double> tail = numbers;
    for (const auto& b : buckets_) {
      tail.push_back(b.is_late ? 1 : 0);
      for (const auto& p : b.parameters) tail.push_back(p.grad().defined() ? 1 : 0);
    }
    Tensor counts = at::tensor(tail, at::kDouble);
    processes_.sum(counts);
    const auto* count = counts.const_data_ptr<double>();
    for (auto& n : numbers) n = *count++;
    for (auto& b : buckets_) {
      b.wait();
      if (*count++ > 0) {
        start(b);
        b.wait();
      }
      count = put_back(b, count);
    }
    started_ = 0;
  }

  /// How many buckets there are.
  std::size_t buckets() const { return buckets_.size(); }
  /// How many of them are on their way.
  std::size_t started() const { return started_; }

 private:
  struct Bucket {
    std::vector<Tensor> parameters = {};
    std::size_t ready = 0;
    bool is_late = false;
    Tensor flat = {};
    Communicator::Wait wait = {};
  };

  struct Hook : torch::autograd::PostAccumulateGradHook {
    Hook(GradientSums& all, std::size_t at) : sums(all), bucket(at) {}
    void operator()(const Tensor&) override { sums.made(bucket); }
    GradientSums& sums;
    std::size_t bucket;
  };

  // A gradient of this bucket was made. Buckets leave in order, which is the same in all processes.
  void made(std::size_t bucket) {
    if (!is_last_) return;
    const std::lock_guard lock(mutex_);
    ++buckets_[bucket].ready;
    if (bucket < started_) buckets_[bucket].is_late = true;
    while (started_ < buckets_.size() && buckets_[started_].ready >= buckets_[started_].parameters.size())
      start(buckets_[started_++]);
  }

  void start(Bucket& b) {
    at::NoGradGuard no_grad;
    std::vector<Tensor> parts;
    for (const auto& p : b.parameters)
      parts.push_back(p.grad().defined() ? p.grad().flatten() : at::zeros({p.numel()}, p.options()));
    b.flat = at::cat(parts);
    b.wait = processes_.start_sum(b.flat);
  }

  const double* put_back(Bucket& b, const double* count) {
    std::int64_t at = 0;
    for (auto& p : b.parameters) {
      const Tensor part = b.flat.slice(0, at, at + p.numel()).view(p.sizes());
      at += p.numel();
      if (*count++ == 0) continue;
      if (p.grad().defined()) {
        p.mutable_grad().copy_(part);
      } else {
        p.mutable_grad() = part.clone();
      }
    }
    b = {.parameters = std::move(b.parameters)};
    return count;
  }

  Communicator& processes_;
  std::vector<Bucket> buckets_ = {};
  std::mutex mutex_ = {};
  std::size_t started_ = 0;
  bool is_last_ = false;
};

}  // namespace morphvlm
