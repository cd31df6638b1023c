"""The figure of the caches says what was read."""

from xml.etree import ElementTree as ET

from backends.readings import Readings, ServerReading
from flows.gpu_samples import Samples
from flows.reports.gpu_figure import kv_figure


def samples_of(*addresses: str, readings: int = 5) -> Samples:
    samples = Samples()
    for number in range(readings):
        servers = [
            ServerReading(server=address, kv_cache_usage=number / 10, requests_waiting=0)
            for address in addresses
        ]
        samples.add(15.0 * number, Readings(servers=tuple(servers)))
    return samples


def test_there_is_no_line_of_one_point() -> None:
    assert kv_figure(Samples()) is None
    assert kv_figure(samples_of("http://a", readings=1)) is None


def test_the_figure_is_svg_that_says_what_it_shows_and_is_the_same_each_time() -> None:
    figure = kv_figure(samples_of("http://a", "http://b & c"))
    assert figure == kv_figure(samples_of("http://a", "http://b & c"))
    assert figure
    root = ET.fromstring(figure)  # noqa: S314 - our own
    words = " ".join("".join(element.itertext()) for element in root)
    assert "http://a: at most 40 %; http://b & c: at most 40 %" in words
    assert "minutes since the run began" in words
