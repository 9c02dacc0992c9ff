"""Jobs that were overtaken are never begun, errors surface, and nobody waits for ever."""

import threading

from convlab.panels.latest import Latest


def test_the_newest_job_wins_and_those_it_overtook_are_never_begun():
    ran, errors, begun, go = [], [], threading.Event(), threading.Event()
    latest = Latest(errors.append)

    def first():
        begun.set()
        go.wait(10)
        ran.append("first")

    latest(first)
    begun.wait(10)
    for name in ("second", "third", "fourth"):
        latest(lambda name=name: ran.append(name))
    go.set()
    latest.wait()
    assert ran == ["first", "fourth"]
    assert errors == []


def test_one_at_a_time_from_many_threads_and_the_last_state_is_shown():
    state, shown, inside = [0], [], []
    latest = Latest(shown.append)

    def show():
        inside.append(1)
        assert len(inside) == 1
        shown.append(state[0])
        inside.pop()

    def move():
        for _ in range(50):
            state[0] += 1
            latest(show)

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latest.wait()
    assert shown[-1] == state[0]
    assert len(shown) <= 200


def test_errors_are_told_and_the_next_job_runs():
    told, ran = [], []
    latest = Latest(told.append)
    for error in (ValueError("no"), SystemExit(3), KeyboardInterrupt()):

        def fail(error=error):
            raise error

        latest(fail)
        latest.wait()
    latest(lambda: ran.append(1))
    latest.wait()
    assert [type(error) for error in told] == [ValueError, SystemExit, KeyboardInterrupt]
    assert ran == [1]


def test_a_broken_teller_does_not_leave_anybody_waiting(monkeypatch):
    logged, ran = [], []
    monkeypatch.setattr(threading, "excepthook", lambda args: logged.append(args.exc_value))

    def teller(error):
        raise RuntimeError("the panel is gone")

    latest = Latest(teller)
    error = ValueError("no")

    def fail():
        raise error

    latest(fail)
    latest.wait()
    latest(lambda: ran.append(1))
    latest.wait()
    assert (logged, ran) == ([error], [1])


def test_waiting_for_nothing_returns():
    Latest(print).wait()


def test_no_thread_is_left():
    latest = Latest(print)
    latest(lambda: None)
    latest.wait()
    for thread in threading.enumerate():
        if thread.name == "convlab-panel":
            thread.join(10)
            assert not thread.is_alive()


def test_a_dragged_slider_keeps_its_thread():
    threads = []
    latest = Latest(print)
    for _ in range(5):
        latest(lambda: threads.append(threading.current_thread()))
        latest.wait()
    assert len(set(threads)) == 1


def test_clicks_are_all_done_in_their_order_and_before_what_is_only_looked_at():
    done, first = [], threading.Event()
    latest = Latest(done.append)
    latest.also(lambda: first.wait(10))
    for number in range(5):
        latest(lambda number=number: done.append(f"look {number}"))
        latest.also(lambda number=number: done.append(number))
    first.set()
    latest.wait()
    assert done == [0, 1, 2, 3, 4, "look 4"]
