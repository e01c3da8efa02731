// What every command shares: its arguments, and how errors become messages and exit codes.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

namespace strata::tools {

constexpr int kOk = 0, kOurError = 1, kUserError = 2, kInterrupted = 130;

/// CONFIG, --set and --device, for commands that build something from a config.
struct ConfigArguments {
  std::string config{};
  std::vector<std::string> overrides{};  // "a.b.0.c=VALUE"
  std::string device{};                  // "": what the config says
};
void add_config(CLI::App& app, ConfigArguments& arguments);
/// --set KEY=VALUE, any number of times.
void add_overrides(CLI::App& app, std::vector<std::string>& overrides);
/// --plugin FILE, any number of times.
void add_plugins(CLI::App& app, std::vector<std::string>& plugins);
void add_device(CLI::App& app, ConfigArguments& arguments);
/// The overrides, with --device as one of runtime.device.
std::vector<std::string> all_overrides(const ConfigArguments& arguments);

/// Parses the arguments, runs `body`, and turns what it throws into one message on stderr and the
/// exit code: 2 for a user's error, 1 for ours.
int run_tool(CLI::App& app, int argc, char** argv, const std::function<int()>& body);

}  // namespace strata::tools
