"""What the tests of CLIP's tokenizer compare with: a tiny vocabulary and the ids of texts.

Writes tests/data/clip/vocabulary.txt (merges learned from VLCD's prompts, the file format of CLIP's
own vocabulary) and tests/data/clip/tokens.json (ids that open_clip gives with both vocabularies).
"""
import collections
import gzip
import json
import pathlib
import tempfile

from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode, default_bpe

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


def main() -> None:
    out = pathlib.Path(__file__).parents[1] / "data" / "clip"
    lines = ["#version: of Strata's tests, made by tests/parity/clip.py",
             *(" ".join(m) for m in learn(", ".join(PROMPTS * 8) + CLASSES, MERGES))]
    (out / "vocabulary.txt").write_text("\n".join(lines) + "\n")
    with tempfile.NamedTemporaryFile(suffix=".gz") as packed:
        pathlib.Path(packed.name).write_bytes(gzip.compress("\n".join(lines).encode()))
        tiny = ids(packed.name)
    rows = [{"text": t, "clip": a, "tiny": b} for t, a, b in zip(TEXTS, ids(default_bpe()), tiny)]
    (out / "tokens.json").write_text(
        "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
