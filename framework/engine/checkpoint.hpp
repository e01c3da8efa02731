// Checkpoints: folders step_N/ that are whole or not there.
//
//   model.safetensors      parameters and buffers under their native names
//   optimizer.safetensors  "<parameter>.exp_avg", … (of several: "<optimizer>/<parameter>.…")
//   <hook>.safetensors     what a hook keeps: averaged weights
//   state.json             everything else that a resumed run continues from
//   config.toml            the resolved config
//   manifest.json          sizes and checksums of the others, and which file is to be served
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/model/batch.hpp"

namespace strata::engine {

struct Checkpoint {
  TensorMap model;
  TensorMap optimizer;
  std::vector<std::pair<std::string, TensorMap>> hooks;  // by name, of those that keep tensors
  std::string served = "model";      // what validation measured: "model", or the name of a hook
  std::string state;                 // JSON
  std::string config;                // TOML
  std::vector<std::string> plugins;  // that the config's components came from
};

/// Writes work_dir/step_<step>/ beside, syncs and renames it; returns its path. One of the same
/// step is replaced. Throws CheckpointError naming what could not be written; then nothing new is
/// left and older checkpoints are as they were.
STRATA_API std::string write_checkpoint(const std::string& work_dir, std::int64_t step,
                                        const Checkpoint& checkpoint);

/// Reads a checkpoint folder. Throws CheckpointError when it is not whole.
STRATA_API Checkpoint read_checkpoint(const std::string& folder);

/// What is wrong with a checkpoint folder by its manifest, "" for nothing.
STRATA_API std::string check_checkpoint(const std::string& folder);

/// The step_N folders of a work dir by step, whole or not.
STRATA_API std::vector<std::pair<std::int64_t, std::string>> checkpoints_in(
    const std::string& work_dir);

/// The newest whole one; broken ones are warned of and passed over. nullopt: there is none.
STRATA_API std::optional<std::string> newest_checkpoint(const std::string& work_dir);

/// The checkpoint folder that `path` means: itself, or the newest whole one of a work dir. Throws
/// CheckpointError.
STRATA_API std::string checkpoint_of(const std::string& path);

/// Points work_dir/best at a checkpoint of that work dir.
STRATA_API void mark_best(const std::string& work_dir, std::int64_t step);
/// The folder work_dir/best points at; nullopt when there is none.
STRATA_API std::optional<std::string> best_checkpoint(const std::string& work_dir);

/// Whether a hook of this name may keep tensors: the name is not that of another file.
STRATA_API bool free_name(const std::string& hook);

/// Takes away what a killed process has left of checkpoints that it was writing or removing.
STRATA_API void remove_remains(const std::string& work_dir);
/// Removes a checkpoint so that no kill leaves a part of it under its name.
STRATA_API void remove_checkpoint(const std::string& folder);

/// The weight file that `path` means: itself, or, of a checkpoint folder, the one that validation
/// measured (model.safetensors, or averaged weights); of a work dir that of its best checkpoint or
/// else of its newest. The name of pretrained weights ("timm:…") is fetched, and what is fetched
/// must have the sum `sha256` when one is given. Throws CheckpointError.
STRATA_API std::string weights_of(const std::string& path, const std::string& sha256 = "");

}  // namespace strata::engine
