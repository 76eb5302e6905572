"""What people's messages say, against messages and pairs that were labelled by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.curate.textmodels import Embedder
from chatwright.errors import UsageError
from chatwright.evaluate.conversations.phrases import is_complaint, is_content
from chatwright.evaluate.conversations.repeats import (
    embedding_similarity,
    jaccard,
    repeated_turns,
)

CONTENT = [
    "Thanks!",
    "thank you so much, that worked",
    "Great, thanks.",
    "Perfect!",
    "OK, got it.",
    "That makes sense now.",
    "It works now 🎉",
    "Solved, cheers",
    "Ah, I see. Thank you!",
    "Thanks! And how do I change my e-mail address?",
    "Yes, that's exactly what I needed.",
    "very helpful, thx",
    "ok",
    "谢谢",
    "好的,谢谢!",
    "明白了。",
    "太好了,问题解决了!",
    "搞定了,非常感谢你的帮助",
    "懂了懂了",
    "可以了,谢谢",
    "嗯嗯,知道了",
    "完美!",
    "感谢!另外发票什么时候寄出?",
    "好的",
    "👍",
    "Thanks, and how do I change my e-mail address?",
    "Got it, where do I find the invoice?",
    "That's exactly what I needed.",
    "Exactly!",
    "Perfect, thank you",
    "I see.",
    "明白了\uff0c那发票什么时候寄出\uff1f",
    "谢谢\uff01另外发票什么时候寄出\uff1f",
    "很好\uff01",
    "很有用\uff0c谢谢",
    "有用的。",
    "完美解决了",
    "收到\uff0c谢谢\uff01",
    "太好了\uff01",
]
NOT_CONTENT = [
    "Thanks, but it still fails.",
    "How do I thank my teacher in a letter?",
    "Can you help me? Thanks in advance.",
    "That does not work.",
    "OK so how do I export the report as a PDF?",
    "What does perfect competition mean?",
    "thanks for nothing",
    "It worked yesterday but not today",
    "Write a thank-you note to the colleagues who solved the outage last weekend, please.",
    "No thanks, that is not what I want",
    "谢谢,但是还是不行。",
    "好的,那怎么修改地址?",
    "怎么写一封感谢信?要写给帮助过我的老师,语气正式一点,大约三百字。",
    "帮这个故事写下一个完美的结局。",
    "请问可以退款吗?先谢谢了",
    "这个方法不对",
    "没解决我的问题",
    "还是报错,谢谢",
    # questions that begin with such words
    "收到退款要多久\uff1f",
    "收到退款要多久",
    "有用的工具有哪些\uff1f",
    "很好吃的餐厅有哪些\uff1f",
    "完美世界是什么游戏\uff1f",
    "完美世界是什么游戏",
    "解决了吗\uff1f",
    "搞定了吗",
    "可以了解一下会员吗\uff1f",
    "可以了解一下价格",
    "感谢信怎么写\uff1f",
    "感谢信怎么写",
    "谢谢用日语怎么说\uff1f",
    "老师问我怎么说谢谢\uff1f",
    "就是这个怎么用",
    "好的\uff1f",
    "it works on windows?",
    "It works, right?",
    "It works on Windows or Linux, or both?",
    "Exactly how many days are there in a year?",
    "Exactly how many days are in a year, on average?",
    "Perfect tense examples",
    "I see an error on the screen",
    "Fixed income explained",
    "Excellent restaurants in Paris",
    "Thanks in which languages?",
    "I got it from a friend?",
    "write a thank you note",
    "ok?",
    "",
    "???",
]
COMPLAINTS = [
    "That is wrong.",
    "No, wrong again",
    "This doesn't help me at all.",
    "You didn't answer my question!",
    "useless",
    "forget it",
    "Never mind, I'll call them.",
    "That's not what I asked for.",
    "What a terrible answer",
    "thanks for nothing",
    "It still does not work",
    "你答非所问",
    "不对",
    "还是不行啊",
    "算了,我自己查吧",
    "没有任何帮助",
    "回答是错的",
    "你没有回答我的问题",
    "完全没用",
    "不是我要问的",
    "浪费时间",
]
NO_COMPLAINTS = [
    "My order arrived broken, what now?",
    "I hate Mondays. What is a good breakfast?",
    "What is wrong with my code?",
    "Why is the sky not green?",
    "The printer does not print in colour.",
    "Is it wrong to lie?",
    "我的包裹坏了,怎么办?",
    "谁计算了这个数值?",
    "这道题错在哪里?",
    "赞。没错。",
    "怎么处理垃圾分类?",
    "不对这个想法进行扩展,只总结。",
    "我很难过,该怎么办?",
    "Thanks!",
    "",
]


@pytest.mark.parametrize("message", CONTENT)
def test_content(message: str) -> None:
    assert is_content(message)
    assert not is_complaint(message)


@pytest.mark.parametrize("message", NOT_CONTENT)
def test_not_content(message: str) -> None:
    assert not is_content(message)


@pytest.mark.parametrize("message", COMPLAINTS)
def test_complaint(message: str) -> None:
    assert is_complaint(message)
    assert not is_content(message)


@pytest.mark.parametrize("message", NO_COMPLAINTS)
def test_no_complaint(message: str) -> None:
    assert not is_complaint(message)


@given(st.text(max_size=300))
def test_any_text_is_read(message: str) -> None:
    assert not (is_content(message) and is_complaint(message))


def test_a_very_long_message_is_read_at_once() -> None:
    for text in ("哦" * 50_000, "ok " * 50_000, "not " * 50_000, "没" * 50_000, "a" * 200_000):
        is_content(text)
        is_complaint(text)


# (first, later, whether it is the same question, whether only embeddings see that)
# fmt: off
PAIRS = [
    ("How do I reset my password?", "How can I reset the password?", True, False),
    ("How do I reset my password?", "I said: how do I reset my password??", True, False),
    ("Where is my parcel? It should have come on Monday.",
     "Again: where is my parcel? It should have come Monday", True, False),
    ("How do I install SQLAlchemy with PostgreSQL?",
     "Installing SQLAlchemy with PostgreSQL, how?", True, False),
    ("What is the refund policy for digital goods?",
     "What's the policy on refunds of digital goods?", True, False),
    ("Can I cancel my subscription before the trial ends?",
     "Can the subscription be cancelled before the trial is over?", True, True),
    ("why does session.commit() raise IntegrityError",
     "Why does session.commit raise an IntegrityError?", True, False),
    ("Show me the opening hours of the Berlin store",
     "opening hours berlin store please", True, False),
    ("how to export the report as pdf", "How can the report be exported as a PDF?", True, False),
    ("Which documents do I need for a visa?",
     "What documents are needed for the visa?", True, False),
    ("怎么重置密码?", "密码怎么重置?", True, False),
    ("请问订单1234怎么申请退款?", "订单1234要怎样申请退款?", True, False),
    ("我的快递到哪里了?", "我问的是我的快递现在到哪里了", True, True),
    ("如何安装这个软件的中文版?", "这个软件的中文版怎么安装?", True, False),
    ("发票可以开成公司抬头吗?", "请问能不能开公司抬头的发票?", True, True),
    ("会员到期后数据会被删除吗?", "会员到期之后,我的数据会不会被删除?", True, False),
    ("为什么我的账号被冻结了?", "我的账号为什么会被冻结?", True, False),
    ("北京到上海的高铁票多少钱?", "北京到上海高铁票价是多少钱", True, False),
    ("手机号换了怎么登录?", "我换了手机号,该怎么登录?", True, True),
    ("如何导出聊天记录?", "怎样才能导出聊天记录", True, False),
    ("How do I reset my password?", "How do I delete my account?", False, False),
    ("How do I reset my password?", "Thanks! And how do I change my e-mail address?", False, False),
    ("Where is my parcel?", "The parcel arrived broken, what now?", False, False),
    ("What is the capital of France?", "What is the capital of Australia?", False, False),
    ("Who wrote Pride and Prejudice?", "When was Pride and Prejudice published?", False, False),
    ("Translate 'good morning' into German.", "Translate 'good night' into German.", False, False),
    ("Write a function that adds two numbers.",
     "Now write a test for this function.", False, False),
    ("Can I cancel my subscription?", "Can I pause it for three months?", False, False),
    ("Give me three examples of mammals.", "Give me three examples of reptiles.", False, False),
    ("How much does the basic plan cost?", "And how much storage does it have?", False, False),
    ("go on", "go on", False, False),
    ("继续", "继续", False, False),
    ("怎么重置密码?", "怎么注销账号?", False, False),
    ("订单1234怎么申请退款?", "退款多久能到账?", False, False),
    ("冷水机组使用电力操作吗?", "冷水机组需要多少水?", False, False),
    ("法国的首都是哪里?", "澳大利亚的首都是哪里?", False, False),
    ("《红楼梦》的作者是谁?", "《红楼梦》写于哪个朝代?", False, False),
    ("帮我写一首关于春天的诗。", "帮我写一首关于大海的诗。", False, False),
    ("北京今天的天气怎么样?", "上海明天的天气怎么样?", False, False),
    ("会员多少钱一个月?", "会员可以同时登录几台设备?", False, False),
    ("发票什么时候寄出?", "发票可以开成公司抬头吗?", False, False),
    ("如何导出聊天记录?", "如何清空聊天记录?", False, False),
]
# fmt: on


@pytest.mark.parametrize(("first", "later", "same", "needs_meaning"), PAIRS)
def test_repeated_questions(first: str, later: str, same: bool, needs_meaning: bool) -> None:
    found = repeated_turns([first, later])
    # Where the words alone do not show it, that is a known miss; it must not turn into a surprise.
    assert found == ((1,) if same and not needs_meaning else ())


def test_embeddings_find_the_rest() -> None:
    try:
        Embedder()
    except UsageError as error:
        pytest.skip(str(error))
    similarity = embedding_similarity()
    for first, later, same, _ in PAIRS:
        assert repeated_turns([first, later], similarity) == ((1,) if same else ()), later


def test_any_earlier_turn_counts_and_another_number_does_not() -> None:
    asked = ["怎么重置密码?", "发票什么时候寄出?", "密码怎么重置?", "怎么重置密码?"]
    assert repeated_turns(asked) == (2, 3)
    assert repeated_turns(["Status of order 1234 please", "Status of order 1235 please"]) == ()
    assert repeated_turns([]) == ()


def test_similarity_is_asked_only_where_needed() -> None:
    asked: list[tuple[str, str]] = []

    def similarity(a: str, b: str) -> float:
        asked.append((a, b))
        return 0.5

    assert repeated_turns(["How do I reset my password?"] * 2, similarity) == (1,)
    assert asked == []
    assert repeated_turns(["How tall is it?", "What colour has it got?"], similarity, 0.5) == (1,)


@given(st.frozensets(st.text(max_size=3)), st.frozensets(st.text(max_size=3)))
def test_jaccard(a: frozenset[str], b: frozenset[str]) -> None:
    assert 0 <= jaccard(a, b) == jaccard(b, a) <= 1
    assert jaccard(a, a) == (1 if a else 0)
