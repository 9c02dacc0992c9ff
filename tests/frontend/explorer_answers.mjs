// Answers for tests/frontend/test_explorer_script.py: settings come in as JSON, what the page would show goes out.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(`${process.argv[2]}/`);
const load = (name) => import(new URL(`${name}.js`, folder));
const [geometry, limits, numbers, code, fit] = await Promise.all(
  ["geometry", "limits", "numbers", "code", "fit"].map(load),
);

const range = (size) => [...Array(size).keys()];

function taps(s) {
  const of = (tap, size) => range(size).flatMap((place) => tap(s, place).map(({ input, weight, output }) => [input, weight, output]));
  return {
    output: of(geometry.tapsOfOutput, geometry.outputSize(s)),
    input: of(geometry.tapsOfInput, s.input_size),
    weight: of(geometry.tapsOfWeight, s.kernel_size),
  };
}

function answer(s) {
  return {
    output_size: geometry.outputSize(s),
    num_params: geometry.numParams(s).total,
    mult_adds: geometry.multAdds(s),
    receptive_field: geometry.receptiveField(s),
    keras: geometry.kerasSame(s),
    unseen: geometry.unseen(s),
    taps: taps(s),
    input: range(s.in_channels).map((channel) => numbers.places(s, s.input_size).map((at) => numbers.inputValue(s, channel, at))),
    weight: range(s.out_channels).map((out) =>
      numbers.channelsSeen(s, out).map((into) => numbers.places(s, s.kernel_size).map((at) => numbers.weightValue(out, into, at))),
    ),
    bias: range(s.out_channels).map(numbers.biasValue),
    output: range(s.out_channels).map((out) => numbers.outputs(s, out)),
    limits: Object.fromEntries(limits.SIZES.map((name) => [name, limits.limit(s, name)])),
    code: Object.fromEntries(code.FORMS.map((form) => [form, code.code(form, s)])),
  };
}

function ask({ settings, wanted, fitted }) {
  if (wanted) return limits.problem(settings, wanted[0], wanted[1]);
  return fitted ? fit.fit(settings).settings : answer(settings);
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(ask)));
