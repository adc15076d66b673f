// Processes on one machine or several, joined by LibTorch's c10d: over TCP (Gloo), and where this build has
// NCCL by that for tensors on CUDA. (Python: torch.distributed.init_process_group("cpu:gloo,cuda:nccl").)
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#ifdef USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#endif

#include "morphvlm/core/communicator.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/distributed/nccl.hpp"
#include "morphvlm/distributed/process_place.hpp"

namespace morphvlm {

#ifdef USE_C10D_GLOO

/// See ProcessPlace.
class GlooCommunicator : public Communicator {
 public:
  /// Meets the other processes. Error: they do not come within the timeout.
  explicit GlooCommunicator(ProcessPlace place) : place_(std::move(place)) {
    explain("cannot meet the others at " + place_.address + ":" + std::to_string(place_.port) +
                " (MASTER_ADDR and MASTER_PORT)",
            [&] {
              c10d::TCPStoreOptions options;
              options.port = static_cast<std::uint16_t>(place_.port);
              options.isServer = place_.rank == 0;
              options.numWorkers = static_cast<std::size_t>(place_.size);
              options.timeout = place_.timeout;
              ledger_.store = c10::make_intrusive<c10d::TCPStore>(place_.address, options);
              auto gloo = c10d::ProcessGroupGloo::Options::create(place_.timeout);
              const char* const interface = std::getenv("GLOO_SOCKET_IFNAME");
              gloo->devices.push_back(interface != nullptr
                                          ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                                          : c10d::ProcessGroupGloo::createDefaultDevice());
              group_ = c10::make_intrusive<c10d::ProcessGroupGloo>(
                  ledger_.store, static_cast<int>(place_.rank), static_cast<int>(place_.size), gloo);
            });
  }

  std::int64_t rank() const override { return place_.rank; }
  std::int64_t size() const override { return place_.size; }

  Wait start_sum(Tensor t) override {
    return start([&] {
      std::vector<Tensor> all{t};
      return backend(t).allreduce(all);
    });
  }
  Wait start_gather(Tensor all, Tensor mine) override {
    // Gloo knows fewer dtypes than bytes.
    Tensor to = all.view(at::kByte), from = mine.view(at::kByte);
    return start([&] { return backend(all)._allgather_base(to, from); });
  }
  void broadcast(Tensor& t) override {
    start([&] {
      std::vector<Tensor> all{t};
      return backend(t).broadcast(all);
    })();
  }

 private:
  // Gloo takes tensors on CUDA too, but copies them to the CPU and back.
  c10d::Backend& backend(const Tensor& t) {
#ifdef USE_C10D_NCCL
    if (t.is_cuda()) {
      if (!nccl_) nccl_ = nccl_backend(ledger_.store, place_);
      return *nccl_;
    }
#else
    static_cast<void>(t);
#endif
    return *group_;
  }

  template <class F>
  void explain(const std::string& what, F&& f) const {
    try {
      f();
    } catch (const Error&) {
      throw;
    } catch (const std::exception& e) {
      const std::string_view text(e.what());
      fail("rank ", place_.rank, " of ", place_.size, ": ", what, ": ", text.substr(0, text.find('\n')));
    }
  }

  using Clock = std::chrono::steady_clock;

  // Each process says how many calls it has come to, so that after a failure the others can tell who is late.
  template <class F>
  Wait start(F&& call) {
    const auto number = ++calls_;
    c10::intrusive_ptr<c10d::Work> work;
    named(number, [&] {
      ledger_.tell(Ledger::key(place_.rank), std::to_string(number));
      work = call();
    });
    return [this, number, work] { named(number, [&] { work->wait(); }); };
  }

  // Does `f`, a part of call `number`; an error names who is lost.
  template <class F>
  void named(std::int64_t number, F&& f) {
    const auto begin = Clock::now();
    std::string reason;
    try {
      f();
      patience_ = std::max<Clock::duration>(patience_, 2 * (Clock::now() - last_));
      last_ = Clock::now();
      return;
    } catch (const std::exception& e) {
      reason = e.what();
    }
    fail("rank ", place_.rank, " of ", place_.size, ": lost ", lost(number, begin), ": ",
         reason.substr(0, reason.find('\n')));
  }

  static constexpr std::chrono::seconds kLeastPatience{3};

  // How many calls each process has come to, in rank 0's memory.
  struct Ledger {
    static constexpr const char* kVerdict = "morphvlm.lost";

    static std::string key(std::int64_t rank) { return "morphvlm.calls." + std::to_string(rank); }

    // As a Store: TCPStore hides the forms for text.
    void tell(const std::string& name, const std::string& text) const {
      static_cast<c10d::Store&>(*store).set(name, text);
    }

    // The ranks that have not come to call `number`.
    std::string absent(std::int64_t number) const {
      std::string ranks;
      for (std::int64_t r = 0; r < size; ++r) {
        if (store->check({key(r)}) && std::stoll(store->get_to_str(key(r))) >= number) continue;
        ranks += (ranks.empty() ? "rank " : ", rank ") + std::to_string(r);
      }
      return ranks;
    }

    // Who is lost: those who do not come until the deadline, or whom another process has named.
    std::string judge(std::int64_t number, Clock::time_point deadline) const {
      std::string ranks = absent(number);
      while (!ranks.empty() && Clock::now() < deadline && !store->check({kVerdict})) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        ranks = absent(number);
      }
      if (store->check({kVerdict})) ranks = store->get_to_str(kVerdict);
      if (ranks.empty()) ranks = "a connection";
      tell(kVerdict, ranks);
      return ranks;
    }

    std::int64_t size = 1;
    c10::intrusive_ptr<c10d::TCPStore> store = {};
  };

  // A connection broke, which one process notices before another has even come so far: it is waited for as
  // long as a call and what is before it may take. Rank 0 stays for the others, who ask its memory; it is the
  // one that is lost where it does not answer, for which a thread waits, since nothing ends that.
  std::string lost(std::int64_t number, Clock::time_point begin) const {
    const auto deadline = begin + std::min<Clock::duration>(place_.timeout, patience_) + kLeastPatience;
    std::promise<std::string> promise;
    auto verdict = promise.get_future();
    std::thread([promise = std::move(promise), ledger = ledger_, number, deadline]() mutable {
      try {
        promise.set_value(ledger.judge(number, deadline));
      } catch (const std::exception&) {
        promise.set_value("rank 0");
      }
    }).detach();
    if (verdict.wait_until(std::max(deadline, Clock::now()) + kLeastPatience) != std::future_status::ready)
      return "rank 0";
    if (place_.rank == 0) std::this_thread::sleep_for(kLeastPatience);
    return verdict.get();
  }

  ProcessPlace place_;
  Ledger ledger_ = {.size = place_.size};
  c10::intrusive_ptr<c10d::Backend> group_ = {};
#ifdef USE_C10D_NCCL
  c10::intrusive_ptr<c10d::Backend> nccl_ = {};  // made by the first call that needs it
#endif
  std::int64_t calls_ = 0;
  Clock::duration patience_ = kLeastPatience;
  Clock::time_point last_ = Clock::now();
};

#endif

/// The group that the environment describes (process_place), or none where this process is alone. Error:
/// several processes, but this was compiled without Gloo's headers.
inline std::unique_ptr<Communicator> communicator_from_environment() {
  ProcessPlace place = process_place();
  if (place.size == 1) return nullptr;
#ifdef USE_C10D_GLOO
  return std::make_unique<GlooCommunicator>(std::move(place));
#else
  fail("WORLD_SIZE is ", place.size, ", but this program was compiled without Gloo's headers (libgloo-dev)");
#endif
}

}  // namespace morphvlm
