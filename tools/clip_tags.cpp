// clip_tags: what pictures show, in words, found by a CLIP; files that data.tags reads.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "backbones/backbone.hpp"
#include "backbones/key_maps.hpp"
#include "framework/base/files.hpp"
#include "framework/base/log.hpp"
#include "framework/data/tags.hpp"
#include "framework/engine/interrupt.hpp"
#include "framework/io/pretrained.hpp"
#include "framework/io/tensor_file.hpp"
#include "framework/io/weights.hpp"
#include "framework/ops/device.hpp"
#include "modules/zero_shot.hpp"
#include "tools/loading.hpp"

namespace strata::tools {
namespace {

namespace fs = std::filesystem;

struct ClipTagsArguments {
  std::vector<std::string> folders;
  std::string weights, vocabulary, classes, device = "cpu", prompt = "{}";
  std::string suffix = TagOptions{}.suffix;
  std::int64_t top = 0, batch = 16;
  bool force = false;
};

// ------------------------------------------------------------------------------------ the CLIP

/// An archive in OpenAI's layout: it says what it is of by its names and shapes.
class ClipArchive {
 public:
  ClipArchive(TensorMap tensors, std::string path)
      : tensors_(std::move(tensors)), path_(std::move(path)) {}

  bool has(const std::string& name) const { return find(name) != nullptr; }
  const at::Tensor& tensor(const std::string& name) const {
    if (const at::Tensor* tensor = find(name)) return *tensor;
    throw CheckpointError(path_ + ": is no CLIP in the layout of OpenAI or Hugging Face, it has no \"" + name + "\"");
  }
  /// How many of "before.0.…", "before.1.…", … there are.
  std::int64_t count(const std::string& before) const {
    std::int64_t number = 0;
    while (std::any_of(tensors_.begin(), tensors_.end(), [&](const auto& each) {
      return each.first.starts_with(before + "." + std::to_string(number) + ".");
    })) {
      ++number;
    }
    return number;
  }
  /// The side of the square grid that there are positions for, beside one for the whole.
  std::int64_t grid(const std::string& positions) const {
    return std::llround(std::sqrt(static_cast<double>(tensor(positions).size(0) - 1)));
  }
  TensorMap part(bool visual) const {
    static const std::set<std::string> kNotWeights{"input_resolution", "context_length",
                                                   "vocab_size", "logit_scale"};
    TensorMap own;
    for (const auto& [name, tensor] : tensors_) {
      const bool below = name.starts_with("visual.");
      if (below != visual || kNotWeights.contains(name)) continue;
      own.emplace_back(below ? name.substr(7) : name, tensor);
    }
    return own;
  }

 private:
  const at::Tensor* find(const std::string& name) const {
    for (const auto& [key, tensor] : tensors_) {
      if (key == name) return &tensor;
    }
    return nullptr;
  }

  TensorMap tensors_;
  std::string path_;
};

/// Hugging Face's CLIPModel under OpenAI's names; others as they are.
TensorMap in_openai_layout(const TensorMap& tensors) {
  const bool theirs = std::any_of(tensors.begin(), tensors.end(), [](const auto& each) {
    return each.first.starts_with("vision_model.");
  });
  if (!theirs) return tensors;
  TensorMap renamed;
  for (const bool visual : {true, false}) {
    const io::KeyRules rules(
        backbones::key_rules(visual ? "transformers.clip_visual" : "transformers.clip_text"));
    for (auto& [name, tensor] : rules.rename(tensors)) {
      renamed.emplace_back((visual ? "visual." : "") + name, tensor);
    }
  }
  for (const auto& [name, tensor] : tensors) {
    if (name == "logit_scale") renamed.emplace_back(name, tensor);
  }
  return renamed;
}

/// A component as a config of these lines makes it.
template <class Interface>
std::shared_ptr<Interface> build(const Registry& registry, const std::string& toml,
                                 const typename Interface::Context& context) {
  const config::Document document = config::load_text(toml, "clip_tags");
  config::Binder binder(registry);
  Slot<Interface> slot;
  binder.bind_slot(Interface::kind, slot, document.root);
  config::throw_if_any(binder.problems);
  return slot.build(context);
}

// OpenAI's towers have heads of 64 channels.
std::int64_t heads_of(std::int64_t width) { return std::max<std::int64_t>(1, width / 64); }

struct Clip {
  std::shared_ptr<Backbone> image;
  std::shared_ptr<TextEncoder> text;
  std::int64_t side = 224;    // of the pictures that the image tower was made for
  std::int64_t length = 77;   // positions of the text tower
  double scale = 100;
};

std::string image_tower(const ClipArchive& archive, std::int64_t& side) {
  if (archive.has("visual.proj")) {
    const at::Tensor& patches = archive.tensor("visual.conv1.weight");
    const std::int64_t width = patches.size(0), patch = patches.size(3);
    side = archive.grid("visual.positional_embedding") * patch;
    return fmt::format(
        "type = \"CLIPVisionTransformer\"\npyramid = false\ninput_resolution = {}\npatch_size = {}\n"
        "width = {}\nlayers = {}\nheads = {}\noutput_dim = {}\n",
        side, patch, width, archive.count("visual.transformer.resblocks"), heads_of(width),
        archive.tensor("visual.proj").size(1));
  }
  side = archive.grid("visual.attnpool.positional_embedding") * 32;
  std::string layers;
  for (int stage = 1; stage <= 4; ++stage) {
    layers += fmt::format("{}{}", stage == 1 ? "" : ", ",
                          archive.count("visual.layer" + std::to_string(stage)));
  }
  return fmt::format(
      "type = \"CLIPResNetWithAttention\"\ninput_resolution = {}\nlayers = [{}]\nwidth = {}\n"
      "output_dim = {}\n",
      side, layers, archive.tensor("visual.layer1.0.conv1.weight").size(0),
      archive.tensor("visual.attnpool.c_proj.weight").size(0));
}

Clip load_clip(const Registry& registry, const ClipTagsArguments& arguments, c10::Device device) {
  const std::string path = io::is_pretrained_name(arguments.weights)
                               ? io::fetch_pretrained(arguments.weights)
                               : arguments.weights;
  const ClipArchive archive(in_openai_layout(io::read_tensors(path).tensors), path);
  Clip clip;
  const std::string image = image_tower(archive, clip.side);
  const std::int64_t width = archive.tensor("ln_final.weight").size(0);
  clip.length = archive.tensor("positional_embedding").size(0);
  std::string text = fmt::format(
      "type = \"CLIPTextContextEncoder\"\ncontext_length = {}\ntransformer_width = {}\n"
      "transformer_heads = {}\ntransformer_layers = {}\nembed_dim = {}\nvocab_size = {}\n",
      clip.length, width, heads_of(width), archive.count("transformer.resblocks"),
      archive.tensor("text_projection").size(1), archive.tensor("token_embedding.weight").size(0));
  if (!arguments.vocabulary.empty()) {
    text += "vocabulary = '" + fs::absolute(arguments.vocabulary).string() + "'\n";
  }
  clip.text = build<TextEncoder>(registry, text, {});
  clip.image = build<Backbone>(registry, image, {FeatureSpec::image(3)});
  io::load_state(*clip.text, archive.part(false), path);
  io::load_state(*clip.image, archive.part(true), path);
  clip.text->to(device);
  clip.image->to(device);
  clip.text->eval();
  clip.image->eval();
  if (archive.has("logit_scale")) {
    clip.scale = std::exp(archive.tensor("logit_scale").to(at::kDouble).item<double>());
  }
  return clip;
}

// -------------------------------------------------------------------------------- the pictures

// One name a line; what stands behind ", " describes it, as in ChangeCLIP's rscls.txt.
std::vector<std::string> read_classes(const std::string& path) {
  std::vector<std::string> names;
  std::istringstream lines(read_text(path));
  for (std::string line; std::getline(lines, line);) {
    line = line.substr(0, line.find(", "));
    line.erase(line.find_last_not_of(" \t\r\n") + 1);
    if (line.empty()) continue;
    if (std::find(names.begin(), names.end(), line) != names.end()) {
      throw DataError(path + ": names \"" + line + "\" twice");
    }
    names.push_back(line);
  }
  if (names.empty()) throw DataError(path + ": names no class");
  return names;
}

std::vector<std::string> pictures_in(const std::string& folder) {
  if (!fs::is_directory(folder)) throw DataError(folder + ": no such folder");
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || name.starts_with('.')) continue;
    if (io::ends_with_one_of(name, io::image_suffixes())) names.push_back(name);
  }
  if (names.empty()) throw DataError(folder + ": holds no picture");
  std::sort(names.begin(), names.end());
  return names;
}

class Tagger {
 public:
  Tagger(Clip clip, std::vector<std::string> classes, const ClipTagsArguments& arguments,
         c10::Device device)
      : clip_(std::move(clip)),
        classes_(std::move(classes)),
        arguments_(arguments),
        device_(device),
        zero_shot_(*clip_.text, classes_,
                   {.prompt = arguments.prompt,
                    .scale = clip_.scale,
                    .length = clip_.length,
                    .device = device}) {}

  /// False: interrupted; what was found is written.
  bool tag(const std::string& folder) const {
    const std::vector<std::string> names = pictures_in(folder);
    const std::string path = tags_file(folder, arguments_.suffix);
    std::map<std::string, PictureTags> known = arguments_.force ? decltype(known){} : earlier(path);
    std::vector<std::string> left;
    std::map<std::string, PictureTags> done;
    for (const std::string& name : names) {
      if (const auto found = known.find(name); found != known.end()) {
        done[name] = std::move(found->second);
      } else {
        left.push_back(name);
      }
    }
    const std::size_t there = done.size();
    const auto save = [&] {
      std::vector<PictureTags> all;
      for (auto& [name, tags] : done) all.push_back(tags);
      if (!all.empty()) write_tags(path, all);
    };
    const auto step = static_cast<std::size_t>(arguments_.batch);
    for (std::size_t begin = 0; begin < left.size(); begin += step) {
      if (engine::InterruptGuard::raised()) {
        save();
        std::fprintf(stderr, "%s: %zu of %zu pictures; the same command goes on from there\n",
                     path.c_str(), done.size(), names.size());
        return false;
      }
      const auto end = std::min(left.size(), begin + step);
      try {
        add(folder, {left.begin() + static_cast<std::ptrdiff_t>(begin),
                     left.begin() + static_cast<std::ptrdiff_t>(end)},
            done);
      } catch (...) {  // a damaged picture costs no other one
        save();
        throw;
      }
      log::status(fmt::format("{}: {} of {} pictures", folder, done.size(), names.size()));
    }
    log::status("");
    if (!left.empty() || there != known.size()) save();
    std::printf("%s: %zu pictures%s\n", path.c_str(), names.size(),
                there == 0 ? "" : fmt::format(", {} of them were there", there).c_str());
    return true;
  }

 private:
  std::size_t kept() const {
    return arguments_.top == 0
               ? classes_.size()
               : std::min(classes_.size(), static_cast<std::size_t>(arguments_.top));
  }

  // What an earlier call found of these classes, by the names of pictures.
  std::map<std::string, PictureTags> earlier(const std::string& path) const {
    std::map<std::string, PictureTags> known;
    if (!fs::exists(path)) return known;
    for (PictureTags& each : read_tags(path)) {
      const bool same = each.classes.size() == kept() &&
                        std::all_of(each.classes.begin(), each.classes.end(), [&](const auto& one) {
                          return std::find(classes_.begin(), classes_.end(), one.first) !=
                                 classes_.end();
                        });
      if (same) known[fs::path(each.picture).filename().string()] = std::move(each);
    }
    return known;
  }

  void add(const std::string& folder, const std::vector<std::string>& names,
           std::map<std::string, PictureTags>& done) const {
    std::vector<at::Tensor> inputs;
    for (const std::string& name : names) {
      inputs.push_back(
          modules::clip_picture(io::read_image((fs::path(folder) / name).string()), clip_.side));
    }
    const Features features = clip_.image->forward(at::stack(inputs).to(device_));
    const at::Tensor found =
        zero_shot_.probabilities(features.extras.at("global")).to(at::kCPU, at::kDouble);
    for (std::size_t n = 0; n < names.size(); ++n) {
      PictureTags& tags = done[names[n]];
      tags = {(fs::path(folder) / names[n]).lexically_normal().string(), {}};
      for (std::size_t k = 0; k < classes_.size(); ++k) {
        tags.classes.emplace_back(classes_[k], found[static_cast<std::int64_t>(n)]
                                                    [static_cast<std::int64_t>(k)]
                                                        .item<double>());
      }
      std::stable_sort(tags.classes.begin(), tags.classes.end(),
                       [](const auto& a, const auto& b) { return a.second > b.second; });
      tags.classes.resize(kept());
    }
  }

  Clip clip_;
  std::vector<std::string> classes_;
  const ClipTagsArguments& arguments_;
  c10::Device device_;
  modules::ZeroShot zero_shot_;
};

int tag_folders(const ClipTagsArguments& arguments) {
  for (const std::string& folder : arguments.folders) pictures_in(folder);  // mistakes come first
  const std::vector<std::string> classes =
      arguments.classes.empty() ? modules::scene_classes() : read_classes(arguments.classes);
  const c10::Device device = ops::device_from(arguments.device);
  const auto registry = components();
  const engine::InterruptGuard guard;
  const c10::InferenceMode inference;
  const Tagger tagger(load_clip(*registry, arguments, device), classes, arguments, device);
  for (const std::string& folder : arguments.folders) {
    if (!tagger.tag(folder)) return kInterrupted;
  }
  return kOk;
}

}  // namespace

int run_clip_tags(int argc, char** argv) {
  CLI::App app(
      "Finds what pictures show with a CLIP, and writes it beside their folders for data.tags: "
      "FOLDER_clipcls_56_vit16.json.",
      "clip_tags");
  ClipTagsArguments arguments;
  app.add_option("folders", arguments.folders, "folders of pictures")->required();
  app.add_option("--weights", arguments.weights,
                 "CLIP in the layout of OpenAI (ViT-B-16.pt) or Hugging Face (hf:openai/clip-vit-base-patch16)")
      ->required();
  app.add_option("--vocabulary", arguments.vocabulary,
                 "file of merges; default: CLIP's own, which tools/setup --clip fetches");
  app.add_option("--classes", arguments.classes,
                 "file of names, one a line; default: 56 classes of aerial scenes");
  app.add_option("--prompt", arguments.prompt, "what is said of a class; {} stands for its name")
      ->capture_default_str();
  app.add_option("--top", arguments.top, "classes written a picture; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--suffix", arguments.suffix, "of the files, behind the name of their folder")
      ->capture_default_str();
  app.add_option("--batch", arguments.batch, "pictures at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--device", arguments.device, "cpu, cuda or cuda:K")->capture_default_str();
  app.add_flag("--force", arguments.force, "find anew what a file holds already");
  return run_tool(app, argc, argv, [&] { return tag_folders(arguments); });
}

}  // namespace strata::tools
