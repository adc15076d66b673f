#include "experiments/paper/child_program.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "morphvlm/core/error.hpp"

namespace morphvlm::experiments {

void run_program(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                 const std::filesystem::path& said) {
  expect(std::filesystem::exists(program), program.string(), ": expected a program");
  std::vector<char*> words{const_cast<char*>(program.c_str())};
  for (const auto& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  const pid_t child = ::fork();
  expect(child >= 0, program.string(), ": cannot be started");
  if (child == 0) {
    const int file = ::open(said.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file >= 0 && ::dup2(file, STDOUT_FILENO) >= 0) ::execv(program.c_str(), words.data());
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) expect(errno == EINTR, program.string(), ": cannot be waited for");
  expect(!WIFSIGNALED(status), program.string(), ": ended by signal ", WTERMSIG(status));
  expect(WEXITSTATUS(status) == 0, program.string(), ": ended with status ", WEXITSTATUS(status));
}

std::filesystem::path own_folder() { return std::filesystem::read_symlink("/proc/self/exe").parent_path(); }

}  // namespace morphvlm::experiments
