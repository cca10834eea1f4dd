"""What the fuzz tests of all trace readers share."""

from hypothesis import strategies as st

from qtheory.traces import TraceError, read_trace


@st.composite
def mutated(draw, content, letters="0123456789.,-e\nnaif"):
    """The content with a few bytes changed, dropped or doubled; `letters` are those that the format is made of."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 12))
        data[place : place + length] = draw(
            st.one_of(st.binary(max_size=6), st.text(letters, max_size=6).map(str.encode))
        )
    return bytes(data)


def read_or_refuse(path, data, format=None, skip=True):
    """The trace; or None, when it is refused in one line that names the file."""
    path.write_bytes(data)
    try:
        return read_trace(path, format, skip_bad_rows=skip)
    except TraceError as wrong:
        refused = str(wrong)
    assert refused.startswith(str(path))
    assert "\n" not in refused
    return None
