"""The shapes of what the Encryption page sends."""

from flask_wtf import FlaskForm
from wtforms import BooleanField, StringField
from wtforms.validators import DataRequired, Regexp

from panel.web.fields import FALSE


class EnableForm(FlaskForm):
    """The two confirmations, checked beside the boxes. The rule itself is `vault.turn_on.Confirmations`."""

    understand_key_loss = BooleanField(
        "I understand that losing the encryption key file (data/encryption-key.bin) "
        "means losing all encrypted data.",
        validators=[DataRequired("Confirm that you understand what losing the key file means.")],
        false_values=FALSE,
    )
    backup_prepared = BooleanField(
        "I have prepared a secure way to back up the key file.",
        validators=[DataRequired("Confirm that you have prepared a secure way to back up the key file.")],
        false_values=FALSE,
    )


class BackupForm(FlaskForm):
    """The answer to the backup challenge: the first word of sha256sum's output."""

    answer = StringField(
        "Output of the command",
        filters=[lambda text: (text or "").strip().split(" ")[0].lower()],
        validators=[Regexp(r"\A[0-9a-f]{64}\Z", message="Paste the 64 characters that sha256sum printed.")],
    )
