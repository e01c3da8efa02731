#include "framework/engine/hooks/tensorboard.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "framework/base/files.hpp"
#include "framework/io/image.hpp"

namespace strata::engine {
namespace {

double seconds_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

}  // namespace

void TensorboardHook::before_run(RunState& state) {
  const std::filesystem::path folder = std::filesystem::path(state.work_dir) / "tensorboard";
  make_folder(folder);
  // Readers take the files of a folder by name: the number keeps them in the order of their making.
  const double now = seconds_now();
  int number = 0;
  std::string path;
  do {
    path = folder /
           fmt::format("events.out.tfevents.{:010.0f}.strata.{}.{}", now, ::getpid(), number++);
  } while (std::filesystem::exists(path));
  file_.emplace(path, now);
  if (state.resumed) file_->forget_from(state.step + 1, now);
}

void TensorboardHook::after_log(RunState& state, const Numbers& numbers) {
  const double now = seconds_now();
  for (const auto& [name, value] : numbers) file_->add_scalar(name, state.step, now, value);
}

void TensorboardHook::after_validation(RunState& state) {
  const double now = seconds_now();
  for (const Picture& picture : state.pictures) {
    file_->add_picture(picture.name, state.step, now, picture.pixels.size(0),
                       picture.pixels.size(1), io::encode_png(picture.pixels));
  }
}

}  // namespace strata::engine
