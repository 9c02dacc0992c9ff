"""Layers as a file may tell of them, none of which should be made."""


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def layer(function, *args, **keywords):
    return {"function": function, "args": list(args), "keywords": keywords}


EVIL_LAYERS = [
    layer("os.system", "touch /tmp/canary"),
    layer("nn.Module.__subclasses__"),
    layer("nn.modules.container.Sequential"),
    layer("nn.Module"),
    layer("nn.functional.relu", 1),
    layer("nn.DataParallel", layer("nn.ReLU")),
    layer("nn.LazyLinear", 3),
    layer("builtins.eval", "1"),
    layer("eval", "1"),
    layer("nn.Linear", 10**6, 10**6, device="cpu"),
    layer("nn.Linear", 10**6, 10**6, True, "cpu"),
    layer("nn.Conv2d", 1, 10**5, 10**3, 1, 0, 1, 1, True, "zeros", "cpu"),
    layer("nn.Linear", 10**9, 10**9),
    layer("nn.Linear", 10**30, 1),
    layer("nn.Linear", -1, -1),
    layer("nn.LayerNorm", [1] * 100_000),
    layer("nn.Conv2d", 1, 1, [3] * 100_000),
    layer("nn.Sequential", *[1] * 100_000),
    layer("nn.Sequential", *[layer("nn.ReLU")] * 20_000),
    layer("OrderedDict", a=layer("nn.ReLU")),
    layer("nn.Dropout", "x"),
    layer("nn.Upsample", scale_factor=1e9),
    layer("nn.ZeroPad2d", 10**6),
    [],
    None,
    nested(300),
]
