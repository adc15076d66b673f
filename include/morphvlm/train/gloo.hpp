// Processes on one machine or several, joined by LibTorch's c10d over TCP (Gloo). (Python:
// torch.distributed.init_process_group("gloo").)
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
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

namespace morphvlm {

/// Where a process stands among others, and where they meet.
struct ProcessPlace {
  std::int64_t rank = 0,                                         ///< from 0
      size = 1;                                                  ///< processes in all
  std::string address = "127.0.0.1";                             ///< of rank 0
  std::int64_t port = 29500;                                     ///< where rank 0 listens
  std::chrono::milliseconds timeout = std::chrono::minutes(30);  ///< for the slowest process
};

namespace detail {

// The variables by which a launcher tells a process how many there are and which it is.
struct LauncherVariables {
  const char* size;
  const char* rank;
};

// The launcher that started this process, or none. Slurm sets the number of tasks also in a shell that is one
// process; that of a step only for what srun starts.
inline const LauncherVariables* launcher() {
  static constexpr std::array<LauncherVariables, 3> kLaunchers{
      {{"WORLD_SIZE", "RANK"},
       {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
       {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}}};
  for (const auto& l : kLaunchers)
    if (std::getenv(l.size) != nullptr) return &l;
  return nullptr;
}

inline std::int64_t environment_number(const char* name, std::int64_t least, std::int64_t most) {
  const char* const text = std::getenv(name);
  expect(text != nullptr, "environment: ", name, " is not set, but this is one of several processes");
  std::int64_t value = 0;
  const std::string_view view(text);
  const auto [at, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  expect(error == std::errc{} && at == view.data() + view.size() && value >= least && value <= most,
         "environment: ", name, ": expected a number from ", least, " to ", most, ", found \"", text, '"');
  return value;
}

}  // namespace detail

/// The place that a launcher tells: torchrun and its like by RANK and WORLD_SIZE, Open MPI's mpirun and
/// Slurm's srun by variables of their own; alone where there is none. MASTER_ADDR and MASTER_PORT say where
/// rank 0 is (127.0.0.1, 29500), MORPHVLM_TIMEOUT_SECONDS sets the timeout.
inline ProcessPlace process_place() {
  ProcessPlace place;
  const auto* const launcher = detail::launcher();
  if (launcher == nullptr) return place;
  constexpr std::int64_t kMostProcesses = 1 << 16, kMostSeconds = 1 << 20;
  place.size = detail::environment_number(launcher->size, 1, kMostProcesses);
  place.rank = detail::environment_number(launcher->rank, 0, place.size - 1);
  if (const char* const address = std::getenv("MASTER_ADDR")) place.address = address;
  if (std::getenv("MASTER_PORT") != nullptr) place.port = detail::environment_number("MASTER_PORT", 1, 65535);
  if (std::getenv("MORPHVLM_TIMEOUT_SECONDS") != nullptr)
    place.timeout =
        std::chrono::seconds(detail::environment_number("MORPHVLM_TIMEOUT_SECONDS", 1, kMostSeconds));
  return place;
}

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
      return group_->allreduce(all);
    });
  }
  Wait start_gather(Tensor all, Tensor mine) override {
    // Gloo knows fewer dtypes than bytes.
    Tensor to = all.view(at::kByte), from = mine.view(at::kByte);
    return start([&] { return group_->_allgather_base(to, from); });
  }
  void broadcast(Tensor& t) override {
    start([&] {
      std::vector<Tensor> all{t};
      return group_->broadcast(all);
    })();
  }

 private:
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
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_ = {};
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
