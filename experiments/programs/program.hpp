// The one main function of all programs: flags and --help, errors as one line, and an exit status that says
// whether standard output took everything.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

#include "experiments/programs/arguments.hpp"
#include "experiments/programs/help.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/stop_signals.hpp"

namespace morphvlm::experiments {

/// Takes the place of a standard stream that the caller closed: else the first file that is opened would get
/// its number, and results would be written into that file. What is written there fails.
inline void hold_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(stream, F_GETFD) < 0) ::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

/// An Error where standard output did not take all that was written to it.
inline void expect_output_taken() {
  if (std::cout.flush().good() && std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  // It may have failed long ago; what it says now is why.
  const bool fails_now = ::write(STDOUT_FILENO, "\n", 1) < 0;
  fail("standard output: cannot be written",
       fails_now ? ": " + std::generic_category().message(errno) : std::string());
}

/// Calls `work`, which returns an exit status, and puts an exception into one line and a status. Status 1
/// where standard output did not take everything.
template <class Work>
int guarded(std::string_view name, Work&& work) noexcept {
  try {
    hold_standard_streams();
    const int status = work();
    expect_output_taken();
    return status;
  } catch (const Interrupted& e) {
    std::cerr << name << ": " << e.what() << '\n';
    return e.exit_code();
  } catch (const std::exception& e) {
    std::cerr << name << ": " << e.what() << '\n';
    return 1;
  }
}

namespace detail {

// The file that --config names comes first, whatever the order of the flags.
template <class Arguments>
void read_config_file(Arguments& arguments, int argc, char** argv) {
  if constexpr (requires { arguments.config; }) {
    for (const auto& word : joined_arguments(argc, argv)) {
      constexpr std::string_view kFlag = "--config=";
      if (!word.starts_with(kFlag)) continue;
      const std::string file = word.substr(kFlag.size());
      update_from_json(arguments, read_json(file), file);
    }
  }
}

// Whether a flag's field, named by its path, has a value that says something.
template <class Arguments>
bool is_given(const Arguments& arguments, std::string_view flag) {
  Json value = to_json(arguments);
  for (std::size_t begin = 0; begin <= flag.size();) {
    const auto end = std::min(flag.find('.', begin), flag.size());
    value = Json(value.at(std::string(flag.substr(begin, end - begin))));
    begin = end + 1;
  }
  return value != Json("");
}

}  // namespace detail

/// A program: reads `Arguments` from the command line (a JSON file that --config names first, where there is
/// such a field) and calls run(arguments), whose int, if it returns one, is the exit status. --help lists the
/// flags. Status 2 where a flag that must be given is missing or a word is no flag.
template <class Arguments, class Run>
int program(const ProgramText& text, int argc, char** argv, Run&& run) noexcept {
  return guarded(text.name, [&] {
    if (asks_for_help(argc, argv)) {
      std::cout << help_text<Arguments>(text);
      return 0;
    }
    Arguments arguments;
    detail::read_config_file(arguments, argc, argv);
    const auto rest = read_arguments(arguments, argc, argv);
    std::string wrong;
    if (!rest.empty()) wrong = "unexpected argument \"" + rest.front() + '"';
    for (const auto flag : text.required)
      if (wrong.empty() && !detail::is_given(arguments, flag))
        wrong = "--" + std::string(flag) + " is missing";
    if (!wrong.empty()) {
      std::cerr << text.name << ": " << wrong << "\n" << usage_line(text);
      return 2;
    }
    if constexpr (std::is_void_v<std::invoke_result_t<Run&, const Arguments&>>) {
      run(arguments);
      return 0;
    } else {
      return run(arguments);
    }
  });
}

}  // namespace morphvlm::experiments
