"""Codes, names and what a script suggests; and a sentence in every language that is promised by name."""

from __future__ import annotations

import pytest

from polyseme.text.languages import LANGUAGES, language_code, script_share, suggest_language
from polyseme.text.tokenize import tokenizer_for

# Two sentences each ("I am reading a book. You are at home." and the like) and the words of the first, counted by hand.
SAMPLES = {
    "af": ("Ek lees 'n boek. Jy is tuis.", 5),
    "ar": ("أنا أقرأ كتابا. أنت في البيت.", 4),
    "bg": ("Аз чета книга. Ти си вкъщи.", 4),
    "ca": ("Jo llegeixo un llibre. Tu ets a casa.", 5),
    "cs": ("Čtu knihu. Jsi doma.", 3),
    "da": ("Jeg læser en bog. Du er hjemme.", 5),
    "de": ("Ich lese ein Buch. Du bist zu Hause.", 5),
    "el": ("Διαβάζω ένα βιβλίο. Είσαι σπίτι.", 4),
    "en": ("I am reading a book. You are home.", 6),
    "es": ("Leo un libro. Estás en casa.", 4),
    "et": ("Ma loen raamatut. Sa oled kodus.", 4),
    "eu": ("Liburu bat irakurtzen dut. Etxean zaude.", 5),
    "fa": ("من کتاب می‌خوانم. تو در خانه هستی.", 4),
    "fi": ("Luen kirjaa. Olet kotona.", 3),
    "fr": ("Je lis un livre. Tu es là.", 5),
    "ga": ("Léim leabhar. Tá tú sa bhaile.", 3),
    "gl": ("Leo un libro. Estás na casa.", 4),
    "he": ("אני קורא ספר. אתה בבית.", 4),
    "hi": ("मैं किताब पढ़ता हूँ। तुम घर पर हो।", 5),
    "hr": ("Čitam knjigu. Ti si kod kuće.", 3),
    "hu": ("Könyvet olvasok. Otthon vagy.", 3),
    "hy": ("Ես գիրք եմ կարդում։ Դու տանն ես։", 5),
    "id": ("Saya membaca buku. Kamu di rumah.", 4),
    "is": ("Ég les bók. Þú ert heima.", 4),
    "it": ("Leggo un libro. Sei a casa.", 4),
    "ja": ("私は本を読みます。君は家にいる。", 7),
    "ka": ("მე ვკითხულობ წიგნს. შენ სახლში ხარ.", 4),
    "kk": ("Мен кітап оқимын. Сен үйдесің.", 4),
    "km": ("ខ្ញុំអានសៀវភៅ។ អ្នកនៅផ្ទះ។", 4),
    "ko": ("나는 책을 읽는다. 너는 집에 있다.", 4),
    "lt": ("Skaitau knygą. Tu esi namuose.", 3),
    "lv": ("Es lasu grāmatu. Tu esi mājās.", 4),
    "mk": ("Јас читам книга. Ти си дома.", 4),
    "ms": ("Saya membaca buku. Anda di rumah.", 4),
    "nl": ("Ik lees een boek. Jij bent thuis.", 5),
    "no": ("Jeg leser en bok. Du er hjemme.", 5),
    "pl": ("Czytam książkę. Jesteś w domu.", 3),
    "pt": ("Leio um livro. Estás em casa.", 4),
    "ro": ("Citesc o carte. Ești acasă.", 4),
    "ru": ("Я читаю книгу. Ты дома.", 4),
    "sk": ("Čítam knihu. Si doma.", 3),
    "sl": ("Berem knjigo. Ti si doma.", 3),
    "sq": ("Lexoj një libër. Je në shtëpi.", 4),
    "sr": ("Читам књигу. Ти си код куће.", 3),
    "sv": ("Jag läser en bok. Du är hemma.", 5),
    "ta": ("நான் புத்தகம் படிக்கிறேன். நீ வீட்டில் இருக்கிறாய்.", 4),
    "tr": ("Kitap okuyorum. Sen evdesin.", 3),
    "uk": ("Я читаю книгу. Ти вдома.", 4),
    "ur": ("میں کتاب پڑھتا ہوں۔ تم گھر پر ہو۔", 5),
    "vi": ("Tôi đọc sách. Bạn ở nhà.", 4),
    "zh": ("我在看书。你在家。", 4),
}


@pytest.mark.parametrize("code", sorted(SAMPLES))
def test_two_sentences_and_their_words(code: str) -> None:
    text, words = SAMPLES[code]
    sentences = tokenizer_for(LANGUAGES[code]).sentences(text)
    assert len(sentences) == 2
    assert len(sentences[0]) == words


def test_more_than_forty_languages_are_tried() -> None:
    assert len(SAMPLES) > 40


def test_thai_and_lao_write_no_spaces() -> None:
    # "He goes to school" and "I speak Lao".
    assert tokenizer_for("th").tokens("เขาไปโรงเรียน") == ["เขา", "ไป", "โรงเรียน"]
    assert "ລາວ" in tokenizer_for("lo").tokens("ຂ້ອຍເວົ້າພາສາລາວ") or len(tokenizer_for("lo").tokens("ຂ້ອຍເວົ້າພາສາລາວ")) > 2


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("en", "en"),
        ("English", "en"),
        (" zh-Hant ", "zh"),
        ("cmn", "zh"),
        ("pt_BR", "pt"),
        ("nb", "no"),
        ("und", "und"),
        ("tlh", "tlh"),
    ],
)
def test_codes_and_names(name: str, code: str) -> None:
    assert language_code(name) == code


@pytest.mark.parametrize("name", ["", "e", "klingonish", "12", "e1"])
def test_what_is_no_code(name: str) -> None:
    assert language_code(name) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Hello world", "en"),
        ("我爱北京。GPU 不够。", "zh"),
        ("私は東京に住んでいます", "ja"),
        ("カタカナ", "ja"),
        ("中文里的の字", "ja"),
        ("中文里面提到了日语的の字一次而已", "zh"),
        ("안녕하세요", "ko"),
        ("Привет", "ru"),
        ("مرحبا", "ar"),
        ("Γειά", "el"),
        ("שלום", "he"),
        ("नमस्ते", "hi"),
        ("สวัสดี", "th"),
        ("ＦＵＬＬ", "en"),
        ("123 !?", "und"),
        ("", "und"),
        ("ᚠᚢᚦ", "und"),
    ],
)
def test_the_script_suggests(text: str, code: str) -> None:
    assert suggest_language(text) == code


def test_share_of_letters_outside_the_scripts() -> None:
    assert script_share("Hello 世界", ["en"]) == pytest.approx(2 / 7)
    assert script_share("Hello 世界", ["en", "zh"]) == 0.0
    assert script_share("Привет", ["en"]) == 1.0
    assert script_share("Привет, world", ["ru"]) == pytest.approx(5 / 11)
    assert script_share("漢字かな", ["ja"]) == 0.0
    assert script_share("漢字かな", ["zh"]) == 0.5
    assert script_share("anything", ["und"]) == 0.0
    assert script_share("123", ["en"]) == 0.0
    assert script_share("abc", []) == 0.0
