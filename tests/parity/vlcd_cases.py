"""The cases of VLCD's and ChangeCLIP's parts, for cases.py."""
import reference as ref
import vlcd_reference as own

CLIP, SIDE = (2, 48, 9, 8), (2, 64, 12, 10)
CHANNELS = [8, 12]
MAPS = [(2, 8, 6, 5), (2, 12, 3, 3)]
TEXTS = [(2, 3, 1, 10), (2, 3, 1, 10)]


def case(kind, name, reference, build, strata, inputs) -> dict:
    """`build` gives the reference; `strata` is the TOML of ours."""
    return dict(name=name, kind=kind, reference=f"{reference} (vlcd_reference.py)", config={},
                strata=strata, keys=name, build=lambda _: build(), inputs=inputs)


def bridges(table) -> list[dict]:
    def one(name, reference, build, **options):
        return case("bridge", name, reference, build, table("bridge", options), [CLIP, SIDE])
    return [
        one("bridge_dot", "VLCD's dot bridge", lambda: own.DotBridge(48, 64, True, True),
            type="BridgingModule"),
        one("bridge_dot_unscaled", "VLCD's dot bridge as upstream has it",
            lambda: own.DotBridge(48, 64, False, False), type="dot", scale_attn=False,
            layer_norm=False),
        one("bridge_mha", "VLCD's bridge of heads", lambda: own.MhaBridge(48, 64, 64, 4, True),
            type="ViTBridgingModule", heads=4),
        one("bridge_mha_wide", "VLCD's bridge of heads", lambda: own.MhaBridge(48, 64, 66, 6, False),
            type="mha", heads=6, scale_attn=False),
        one("bridge_ban", "BAN's BridgeLayer", lambda: own.BanBridge(48, 64, 2, 4),
            type="BridgeLayer", heads=2)]


def context_decoders(table) -> list[dict]:
    return [case("context_decoder", "context_decoder", "DenseCLIP's context decoder",
                 lambda: own.ContextDecoder(24, 16, 4, 2),
                 table("context_decoder", dict(type="ContextDecoder", width=16, heads=4, layers=2,
                                               dropout=0.0)), [(2, 3, 1, 24), (2, 10, 1, 24)])]


def change_necks(table) -> list[dict]:
    def one(name, reference, build, inputs, **options):
        return case("change_neck", name, reference, build, table("model.neck", options), inputs)

    def fpn():
        return ref.build_mmseg(dict(type="FPN", in_channels=[2 * c for c in CHANNELS],
                                    out_channels=8, num_outs=len(CHANNELS)))
    both = [*MAPS, *MAPS]
    return [
        one("cfc", "VLCD's CFC", lambda: own.CFC(CHANNELS, 6, 10, None), [*both, *TEXTS],
            type="CFC", out_channels=6),
        one("cfc_reduced", "VLCD's CFC behind 1x1 convolutions",
            lambda: own.CFC(CHANNELS, 6, 10, 5), [*both, *TEXTS], type="CFC", out_channels=6,
            reduce_to=5),
        one("simple_cfc", "VLCD's CFC without texts", lambda: own.CFC(CHANNELS, 6, None, None),
            both, type="SimpleCFC", out_channels=6),
        one("dfc", "ChangeCLIP's DFC", lambda: own.DFC(CHANNELS, fpn(), 8, 4), both, type="DFC",
            fpn=dict(out_channels=8), ratio=4)]


def all_cases(table) -> list[dict]:
    return [*bridges(table), *context_decoders(table), *change_necks(table)]
