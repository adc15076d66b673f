// Tests that need processes of their own start this program again, with one test and some variables.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

namespace morphvlm::testing {

/// Starts the test `filter` with these environment variables; what it says goes to `said`, if not empty. The
/// child calls `enter` first.
inline pid_t start_child(const std::string& filter, const std::map<std::string, std::string>& variables,
                         const std::filesystem::path& said = {}, const std::function<void()>& enter = {}) {
  const std::string flag = "--gtest_filter=" + filter;
  const pid_t child = ::fork();
  if (child != 0) return child;
  if (enter) enter();
  for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  if (!said.empty()) {
    const int file = ::open(said.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::dup2(file, STDOUT_FILENO);
    ::dup2(file, STDERR_FILENO);
  }
  ::execl("/proc/self/exe", "tests_train", flag.c_str(), "--gtest_brief=1", static_cast<char*>(nullptr));
  ::_exit(127);
}

/// Waits for it; its exit status, or 128 + the signal that ended it.
inline int wait_for(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace morphvlm::testing
