"""Lines on standard error."""

from keras_crsae.cli.messages import say


def test_a_message_is_one_line_with_the_programs_name(capsys):
    say(ValueError("two\n  lines"))
    assert capsys.readouterr() == ("", "keras-crsae: two lines\n")
