"""What the tests of CLIP's tokenizer and archives compare with; writes to tests/data/clip:

vocabulary.txt            merges learned from VLCD's prompts, in the format of CLIP's own vocabulary
tokens.json               ids that open_clip gives with both vocabularies
rn.pt, vit.pt             archives laid out as OpenAI's: TorchScript, half precision where theirs are,
                          but narrow, and filled by the formula of fill.py under the archive's names
transformers.safetensors  vit.pt as Hugging Face's CLIPModel has it (with transformers on PYTHONPATH,
                          outside the environment of the other scripts: mmseg does not go with it)
features.json             what open_clip makes of an image and texts with them, in float64
"""
import collections
import gzip
import json
import pathlib
import tempfile

import torch
from open_clip.model import (CLIP, CLIPTextCfg, CLIPVisionCfg, build_model_from_openai_state_dict,
                             convert_weights_to_fp16)
from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode, default_bpe

import fill

MERGES = 200
PROMPTS = ["remote sensing image background objects", "remote sensing image foreground objects"]
CLASSES = """airport, bare land, basketball court, beach, bridge, dense residential, farmland, forest,
freeway, ground track field, harbor, island, lake, meadow, mine, mountain, oil tank, runway, sea,
solar panel, stadium, tennis court, terrace, wetland, commercial area, cotton field, industrial area,
railway, interchange, single-family residential, highway, intersection, golf course, desert, river,
campus, prairie, building, fertile land, park, parking lot, square, road, tree, cars, shrubbery,
impermeable surface, ship, airplane, pond, church, chaparral, storage tanks, snow land, container,
cabin"""
TEXTS = [
    *PROMPTS, CLASSES.replace("\n", " "), "a photo of a cat", ", ", "",
    "Hello World! It's 2024, é 中", "we're they've I'm you'll he'd can't dogs' 's",
    "  tabs\tand\n\nlines  ", "100%½², x²+y²=z² №5", "naïve café e\u0301 coöperate ÅNGSTRÖM",
    "&lt;b&gt; &amp;amp; &quot;q&quot; &#65;&#x42;", "“curly” ‘quotes’", "ﬁn ｆｕｌｌ",
    "日本語のテキスト 한국어 русский العربية हिन्दी", "emoji 🚀🛰️ a—b…", "!!! ,,, ((())) $5.00",
    "snow_land CamelCase x86_64 <|endoftext|> <|startoftext|>!", "a\u00a0b\u2003c",
    "antidisestablishmentarianism supercalifragilisticexpialidocious",
]


def learn(text: str, count: int) -> list[tuple[str, str]]:
    """Byte pair encoding: joins the most frequent pair, of equal ones the first by name."""
    symbols = bytes_to_unicode()
    words = collections.Counter(text.replace(",", " ").split())
    split = {w: [symbols[b] for b in w.encode()[:-1]] + [symbols[w.encode()[-1]] + "</w>"]
             for w in words}
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for word, parts in split.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for parts in split.values():
            i = 0
            while i + 1 < len(parts):
                if (parts[i], parts[i + 1]) == best:
                    parts[i:i + 2] = ["".join(best)]
                i += 1
    assert len({"".join(m) for m in merges}) == count
    return merges


def ids(vocabulary: str) -> list:
    tokenizer = SimpleTokenizer(vocabulary)
    # open_clip spells the marks in another way than CLIP does.
    spelled = [t.replace("<|endoftext|>", "<end_of_text>").replace(
        "<|startoftext|>", "<start_of_text>") for t in TEXTS]
    return [tokenizer.encode(t) for t in spelled]


CONTEXT, VOCABULARY, WIDTH, EMBED = 16, 512 + MERGES + 2, 64, 24
VISION = {"rn": CLIPVisionCfg(layers=(1, 1, 1, 1), width=2, image_size=64),
          "vit": CLIPVisionCfg(layers=2, width=WIDTH, patch_size=16, image_size=64)}
SPOKEN = ["remote sensing image", "a building, a road", "tree"]


def skeleton(state: dict) -> torch.nn.Module:
    """Nested modules that hold tensors under their dotted names and do nothing."""
    class Part(torch.nn.Module):
        def forward(self, x):
            return x

    root = Part()
    for name, tensor in state.items():
        module = root
        *path, last = name.split(".")
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, Part())
            module = getattr(module, part)
        if tensor.is_floating_point() and not last.startswith("running"):
            module.register_parameter(last, torch.nn.Parameter(tensor))
        else:
            module.register_buffer(last, tensor)
    return root


def spoken_ids(vocabulary: str) -> torch.Tensor:
    tokenizer = SimpleTokenizer(vocabulary)
    rows = torch.zeros(len(SPOKEN), CONTEXT, dtype=torch.long)
    for row, text in zip(rows, SPOKEN):
        ids = [VOCABULARY - 2, *tokenizer.encode(text), VOCABULARY - 1]
        row[:len(ids)] = torch.tensor(ids)
    return rows


def archive(kind: str, out: pathlib.Path, ids: torch.Tensor) -> tuple[dict, CLIP]:
    model = CLIP(EMBED, VISION[kind], CLIPTextCfg(context_length=CONTEXT, vocab_size=VOCABULARY,
                                                  width=WIDTH, heads=1, layers=1), quick_gelu=True)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(torch.from_numpy(fill.state_value(name, tensor.shape)))
    convert_weights_to_fp16(model)
    state = model.state_dict()
    extra = dict(input_resolution=64, context_length=CONTEXT, vocab_size=VOCABULARY)
    whole = skeleton(state | {k: torch.tensor(v) for k, v in extra.items()})
    torch.jit.trace(whole, torch.zeros(1)).save(str(out / f"{kind}.pt"))
    model = build_model_from_openai_state_dict(dict(state), cast_dtype=torch.float32).double()
    image = torch.from_numpy(fill.input_value("image", (2, 3, 64, 64)))
    with torch.no_grad():
        return dict(image=model.encode_image(image).tolist(),
                    text=model.encode_text(ids).tolist()), model


def hugging_face(model: CLIP, features: dict, out: pathlib.Path, ids: torch.Tensor) -> None:
    """The same weights in transformers' modules, which must give the same features."""
    try:
        from transformers import CLIPConfig, CLIPModel
    except ImportError:
        print("transformers is not there: transformers.safetensors is left as it is")
        return
    shared = dict(hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_attention_heads=1,
                  projection_dim=EMBED)
    theirs = CLIPModel(CLIPConfig(
        projection_dim=EMBED,
        text_config=dict(shared, num_hidden_layers=1, vocab_size=VOCABULARY,
                         max_position_embeddings=CONTEXT, eos_token_id=VOCABULARY - 1,
                         bos_token_id=VOCABULARY - 2),
        vision_config=dict(shared, num_hidden_layers=2, image_size=64, patch_size=16))).double()
    ours = model.state_dict()
    state = {"logit_scale": ours["logit_scale"],
             "visual_projection.weight": ours["visual.proj"].T,
             "text_projection.weight": ours["text_projection"].T}

    def add_blocks(prefix: str, to: str, count: int) -> None:
        for i in range(count):
            a, b = f"{prefix}transformer.resblocks.{i}.", f"{to}encoder.layers.{i}."
            for end in ("weight", "bias"):
                parts = ours[f"{a}attn.in_proj_{end}"].chunk(3)
                for letter, part in zip("qkv", parts):
                    state[f"{b}self_attn.{letter}_proj.{end}"] = part
                for x, y in (("attn.out_proj", "self_attn.out_proj"), ("ln_1", "layer_norm1"),
                             ("ln_2", "layer_norm2"), ("mlp.c_fc", "mlp.fc1"),
                             ("mlp.c_proj", "mlp.fc2")):
                    state[f"{b}{y}.{end}"] = ours[f"{a}{x}.{end}"]

    add_blocks("visual.", "vision_model.", 2)
    add_blocks("", "text_model.", 1)
    state |= {"vision_model.embeddings.class_embedding": ours["visual.class_embedding"],
              "vision_model.embeddings.patch_embedding.weight": ours["visual.conv1.weight"],
              "vision_model.embeddings.position_embedding.weight":
                  ours["visual.positional_embedding"],
              "text_model.embeddings.token_embedding.weight": ours["token_embedding.weight"],
              "text_model.embeddings.position_embedding.weight": ours["positional_embedding"]}
    for end in ("weight", "bias"):
        state[f"vision_model.pre_layrnorm.{end}"] = ours[f"visual.ln_pre.{end}"]
        state[f"vision_model.post_layernorm.{end}"] = ours[f"visual.ln_post.{end}"]
        state[f"text_model.final_layer_norm.{end}"] = ours[f"ln_final.{end}"]
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected and all("position_ids" in m for m in missing), (missing, unexpected)
    theirs.eval()
    image = torch.from_numpy(fill.input_value("image", (2, 3, 64, 64)))
    plain = lambda y: y if isinstance(y, torch.Tensor) else y.pooler_output
    with torch.no_grad():
        for name, got in (("image", theirs.get_image_features(pixel_values=image)),
                          ("text", theirs.get_text_features(input_ids=ids))):
            worst = (plain(got) - torch.tensor(features[name], dtype=torch.float64)).abs().max()
            assert worst < 1e-9, (name, worst)
    from safetensors.torch import save_file
    narrow = lambda v: v.half() if (v.half() == v).all() else v.float()
    save_file({k: narrow(v).contiguous() for k, v in theirs.state_dict().items()},
              str(out / "transformers.safetensors"))


def main() -> None:
    out = pathlib.Path(__file__).parents[1] / "data" / "clip"
    lines = ["#version: of Strata's tests, made by tests/parity/clip.py",
             *(" ".join(m) for m in learn(", ".join(PROMPTS * 8) + CLASSES, MERGES))]
    (out / "vocabulary.txt").write_text("\n".join(lines) + "\n")
    with tempfile.NamedTemporaryFile(suffix=".gz") as packed:
        pathlib.Path(packed.name).write_bytes(gzip.compress("\n".join(lines).encode()))
        tiny = ids(packed.name)
        spoken = spoken_ids(packed.name)
    rows = [{"text": t, "clip": a, "tiny": b} for t, a, b in zip(TEXTS, ids(default_bpe()), tiny)]
    (out / "tokens.json").write_text(
        "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")
    features = {}
    for kind in VISION:
        features[kind], model = archive(kind, out, spoken)
    hugging_face(model, features["vit"], out, spoken)
    (out / "features.json").write_text(json.dumps(features | {"texts": SPOKEN}) + "\n")


if __name__ == "__main__":
    main()
