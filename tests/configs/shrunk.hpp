// Shipped configs on a machine of a test: without CLIP's vocabulary, and narrow where they are large.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "framework/config/config.hpp"
#include "modules/clip_tokenizer.hpp"

namespace strata::tests {

/// The tests' own vocabulary, for a config that needs CLIP's where that was not fetched.
inline std::vector<std::string> vocabulary_for(const std::string& path, bool always = false) {
  const config::Document document = config::load(path);
  const bool needed = document.root.at("model.text_encoder") != nullptr &&
                      document.root.at("model.text_encoder.vocabulary") == nullptr;
  if (!needed) return {};
  if (!always && std::filesystem::exists(modules::default_clip_vocabulary())) return {};
  return {"model.text_encoder.vocabulary=\"" STRATA_SOURCE_DIR "/tests/data/clip/vocabulary.txt\""};
}

/// Towers of CLIP and the network at their side as narrow as they may be; nothing of other models.
inline std::vector<std::string> shrunk(const std::string& path) {
  std::vector<std::string> overrides = vocabulary_for(path, /*always=*/true);
  if (overrides.empty()) return overrides;
  const config::Document document = config::load(path);
  const auto narrow = [&](const std::string& part, const std::vector<std::string>& options) {
    for (const std::string& option : options) overrides.push_back("model." + part + "." + option);
  };
  const auto type_of = [&](const std::string& part) {
    return *document.root.at("model." + part + ".type")->as_string();
  };
  narrow("text_encoder", {"transformer_width=32", "transformer_heads=2", "transformer_layers=1",
                          "embed_dim=32"});
  const bool fused = document.root.at("model.backbone.clip") != nullptr;
  const std::string clip = fused ? "backbone.clip" : "backbone";
  if (type_of(clip) == "CLIPVisionTransformer") {
    narrow(clip, {"width=32", "layers=4", "heads=2", "output_dim=32"});
  } else {
    narrow(clip, {"width=8", "layers=[1, 1, 1, 1]", "output_dim=32"});
  }
  if (!fused) return overrides;
  if (type_of("backbone.rs_backbone") == "VisionTransformer") {
    narrow("backbone.rs_backbone", {"embed_dim=32", "depth=4", "num_heads=2", "out_channels=32"});
  } else {
    narrow("backbone.rs_backbone", {"depth=18", "base_channels=8"});
  }
  return overrides;
}

}  // namespace strata::tests
