"""The front page promises only what works."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ten_lines_of_python_run() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(block.replace("epochs=20", "epochs=1"), "README.md", "exec"), names)
    expected = re.search(r"receptive_field\.size  # (\(.*?\))", block)
    assert expected is not None
    assert str(names["trace"]["pool2"].receptive_field.size) == expected.group(1)


def test_its_links_lead_somewhere() -> None:
    links = [target for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    assert len(links) >= 5
    assert [target for target in links if not (ROOT / target).exists()] == []


def test_its_commands_are_commands() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in set(re.findall(r"(?:^|`)make (\w+)", README, re.MULTILINE)):
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), name
