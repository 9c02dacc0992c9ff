"""What one update of the live chart costs in the kernel, beside a picture that matplotlib draws for each update.

Both run in one real kernel, by turns, on the same points: 100 new ones on a curve that already has 1,000 or 50,000.
Prints medians; the aim is less than 1 ms for the live chart whatever the length. Run: python benchmarks/chart_update.py
"""

import inspect

from jupyter_client.manager import start_new_kernel

LENGTHS = (1_000, 50_000)
NEW = 100


def measure(lengths, new, rounds=36, warm_up=5):
    """Runs in the kernel: milliseconds of one update, {length: {name: [per round]}}."""
    import io
    import time

    import ipywidgets
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from convlab.frontend.chart import LiveChart

    def with_chart(steps, loss):
        chart = LiveChart()
        chart.replace({"train_loss": (steps, loss)})

        def update(steps, loss):
            chart.extend({"train_loss": (steps[-new:], loss[-new:]), "lr": (steps[-1], 0.1)})

        return update

    def with_picture(steps, loss):
        figure = Figure(figsize=(6, 3), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(xlabel="step", ylabel="loss")
        [line] = axes.plot(steps, loss)
        image = ipywidgets.Image(format="png")

        def update(steps, loss):
            line.set_data(steps, loss)
            axes.relim()
            axes.autoscale_view()
            png = io.BytesIO()
            figure.canvas.print_png(png)
            image.value = png.getvalue()

        return update

    result = {}
    for length in lengths:
        n = length + new * rounds
        steps, loss = np.arange(n), np.random.default_rng(0).gamma(2.0, 0.5, n)
        updates = {
            "live chart": with_chart(steps[:length], loss[:length]),
            "matplotlib picture": with_picture(steps[:length], loss[:length]),
        }
        times = {name: [] for name in updates}
        for i in range(1, rounds + 1):
            so_far = length + new * i
            for name, update in updates.items():
                start = time.perf_counter()
                update(steps[:so_far], loss[:so_far])
                took = 1000 * (time.perf_counter() - start)
                if i > warm_up:
                    times[name].append(took)
        result[length] = times
    return result


def in_kernel(code):
    """Run code in a fresh kernel and return what it prints."""
    manager, client = start_new_kernel(extra_arguments=["--log-level=ERROR"])
    printed = []
    try:

        def keep(message):
            if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                printed.append(message["content"]["text"])

        reply = client.execute_interactive(code, output_hook=keep, timeout=300)["content"]
        if reply["status"] != "ok":
            raise RuntimeError("\n".join(reply["traceback"]))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return "".join(printed)


REPORT = """
import statistics
print(f"{'points':>8}  {'live chart, ms':>16}  {'matplotlib, ms':>16}  {'ratio':>6}")
for length, times in measure(%r, %r).items():
    chart, picture = (statistics.median(times[name]) for name in ("live chart", "matplotlib picture"))
    print(f"{length:>8,}  {chart:>16.2f}  {picture:>16.1f}  {picture / chart:>6.0f}")
"""

if __name__ == "__main__":
    print(f"One update of {NEW} points in the kernel, medians of 31 by turns")
    print(in_kernel(inspect.getsource(measure) + REPORT % (LENGTHS, NEW)), end="")
